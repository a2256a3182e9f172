//! The switches of the mechanisms. Applying them restarts the replicas one by one.

use maud::{Markup, html};
use stack::Topology;

use super::form;
use crate::console::{
    switches::{SWITCHES, Switch},
    view::View,
};

pub(super) fn render(view: &View, is_locked: bool) -> Markup {
    let Some(topology) = view.look.topology() else { return html! {} };
    let is_off = is_locked || view.busy.is_some();
    html! {
        (form("scale", is_off, "row", &html! {
            label { "Replicas"
                select name="replicas" {
                    @for count in 1..=9_u32 { option value=(count) selected[count == topology.replicas] { (count) } }
                }
            }
            button type="submit" { "Scale" }
        }))
        (form("configure", is_off, "mechanisms", &html! {
            div.grid {
                label { span { "Phase" }
                    select name="phase" {
                        option value="" selected[topology.phase.is_none()] { "everything on" }
                        @for (phase, name) in [(1, "1 raw"), (2, "2 scaled"), (3, "3 cached"), (4, "4 protected")] {
                            option value=(phase) selected[topology.phase == Some(phase)] { (name) }
                        }
                    }
                    small { "presets of the switches below" }
                }
                @for switch in &SWITCHES { (one(switch, topology)) }
                label { span { "CPU, each" }
                    select name="cpus" {
                        option value="" selected[topology.cpus.is_none()] { "no quota" }
                        @for cores in ["1", "0.5", "0.25", "0.1"] {
                            option value=(cores) selected[topology.cpus == cores.parse().ok()] { (cores) " cores" }
                        }
                    }
                    small { "starves the replicas; needs root" }
                }
            }
            div.row { button.primary-button type="submit" { "Apply, one replica after the other" } }
        }))
        (form("restart", is_off, "row", &html! {
            span { "Restart the replicas" }
            button type="submit" name="order" value="rolling" { "One by one" }
            button type="submit" name="order" value="all-at-once" { "All at once" }
        }))
    }
}

fn one(switch: &Switch, topology: &Topology) -> Markup {
    let value = switch.value(topology);
    let is_other = value.is_some_and(|value| !switch.values.contains(&value));
    html! {
        label { span { (switch.label) }
            select name=(switch.variable) {
                @if topology.phase.is_some() { option value="" selected[value.is_none()] { "as in the phase" } }
                @for known in switch.values { option value=(known) selected[value == Some(known)] { (known) } }
                @if is_other { option value=[value] selected { @if let Some(value) = value { (value) } } }
            }
            small { (switch.buys) }
        }
    }
}
