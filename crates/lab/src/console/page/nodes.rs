//! The sheet of switches of each server. A link to its name opens it (`:target`), so it needs no script.

use maud::{Markup, html};
use stack::{ActiveFault, ServerStatus, Target};

use super::{form, number, picture};
use crate::console::view::View;

/// A button: the fault and what it does.
type Choice = (&'static str, &'static str);

const EVERY: [Choice; 4] = [
    ("kill", "It crashes and stays dead."),
    ("stop", "It is shut down and stays away."),
    ("pause", "It hangs: accepts connections, answers nothing."),
    ("cut", "Its packets vanish. Needs root."),
];
const REPLICA: [Choice; 2] = [
    ("crash", "It ends itself, as a defect in native code would."),
    ("leak", "Starved: it keeps 8 MB a second and is killed at 128 MB."),
];
const POSTGRES: [Choice; 8] = [
    ("slow", "Its answers come later, by the latency above."),
    ("reset", "Every connection is reset."),
    ("half-open", "Connections stay open, nothing passes."),
    ("limit-connections", "Starved: 2 connections for all replicas."),
    ("lock-table", "Somebody holds a lock on the records."),
    ("read-only", "Nothing can be written."),
    ("full-disk", "No space is left for the records."),
    ("end-connections", "Every connection is ended, once."),
];
const REDIS: [Choice; 6] = [
    ("slow", "Its answers come later, by the latency above."),
    ("reset", "Every connection is reset."),
    ("half-open", "Connections stay open, nothing passes."),
    ("limit-memory", "Starved: no memory for writes."),
    ("pause-clients", "No command is answered."),
    ("flush", "It forgets everything, once."),
];

fn choices(target: Target) -> impl Iterator<Item = Choice> {
    let more: &[Choice] = match target {
        Target::Postgres => &POSTGRES,
        Target::Redis => &REDIS,
        Target::Api(_) => &REPLICA,
        Target::Nginx => &[],
    };
    EVERY.into_iter().chain(more.iter().copied())
}

pub(super) fn render(view: &View, lock: Option<&str>) -> Markup {
    let Some(status) = view.look.status() else { return html! {} };
    html! {
        @for (target, address, server) in status.servers() {
            section.sheet data-key=(target) id={ "node-" (target) } tabindex="-1" aria-label={ "Switches of " (target) } {
                div.sheet-head {
                    h2 { (target) }
                    a.close href="#picture" aria-label={ "Close the switches of " (target) } { "Close" }
                }
                p.quiet { (picture::state(view, target, server).1) @if !address.is_empty() { " · " (address) } }
                // One element, however much is in it: what comes behind it keeps its place, and so the focus.
                div {
                    @if let Some(lock) = lock { p.notice { (lock) } }
                    (active(server, lock.is_some()))
                }
                (faults(target, lock.is_some()))
            }
        }
    }
}

fn active(server: &ServerStatus, is_locked: bool) -> Markup {
    html! {
        @for fault in &server.faults {
            div.active-fault data-key=(fault.id) {
                p { strong { (fault.kind) } " · " (number::seconds(fault.age().as_secs_f64())) }
                p.quiet { (evidence(fault)) }
                (form("undo", is_locked, "", &html! {
                    input type="hidden" name="id" value=(fault.id);
                    button type="submit" { "Undo" }
                }))
            }
        }
    }
}

fn evidence(fault: &ActiveFault) -> String {
    let seen = fault.evidence.as_deref().unwrap_or("not confirmed yet");
    format!("{seen}; by {}", fault.by)
}

fn faults(target: Target, is_locked: bool) -> Markup {
    let has_slow = choices(target).any(|(kind, _)| kind == "slow");
    form(
        "fault",
        is_locked,
        "faults",
        &html! {
            input type="hidden" name="target" value=(target);
            div.fields {
                label { "Undo after"
                    select name="for" {
                        option value="" { "never" }
                        @for seconds in [5, 15, 30, 60, 300] { option value=(seconds) { (seconds) " s" } }
                    }
                }
                @if has_slow {
                    label { "Latency of slow"
                        select name="latency_ms" {
                            @for ms in [20, 50, 100, 200, 500, 2000] { option value=(ms) selected[ms == 100] { (ms) " ms" } }
                        }
                    }
                }
            }
            ul.choices {
                @for (kind, what) in choices(target) {
                    li {
                        button type="submit" name="kind" value=(kind) { (kind) }
                        span { (what) }
                    }
                }
            }
            @if matches!(target, Target::Api(_)) {
                p.quiet { "To starve the replicas of CPU time: " a href="#switches" { "Mechanisms" } "." }
            }
        },
    )
}
