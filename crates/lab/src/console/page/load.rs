//! The load panel.

use maud::{Markup, html};

use super::{form, number};
use crate::console::{load::LoadState, view::View};

pub(super) fn render(view: &View, is_locked: bool) -> Markup {
    html! {
        div { (state(view.load.as_ref())) }
        (form("load", is_locked, "row", &html! {
            label { "Requests/s" input type="number" name="rate" min="1" max="20000" step="1" value="100" required; }
            button type="submit" name="mode" value="steady" { "Steady rate" }
        }))
        (form("load", is_locked, "row", &html! {
            input type="hidden" name="mode" value="times";
            @for factor in [2, 5, 10] {
                button type="submit" name="factor" value=(factor) aria-label={ (factor) " times the present rate" } { "×" (factor) }
            }
            span.quiet { "of now" }
        }))
        (form("load", is_locked, "row", &html! {
            button type="submit" name="mode" value="day" { "A day in 2 minutes" }
            button type="submit" name="mode" value="off" { "Off" }
        }))
        (form("load", is_locked, "row", &html! {
            label { "Curve" input type="text" name="curve" value="50:10s,50..300:20s,300:10s" required; }
            button type="submit" name="mode" value="curve" { "Run" }
        }))
        p.quiet { "Open loop: reads of 1,000 records with favourites, sent when they are due, whatever became of earlier ones." }
    }
}

fn state(load: Option<&LoadState>) -> Markup {
    html! {
        @match load {
            None => p { strong { "Off" } },
            Some(load) => {
                p { strong { (load.order) } }
                @if let Some(point) = &load.last {
                    @let per_second = |count: u64| number::rate(count as f64 / point.seconds.max(1e-3));
                    p.quiet {
                        "sent " (per_second(point.sent)) ", good " (per_second(point.succeeded))
                        @if let Some(p95) = point.p95_ms { ", p95 " (number::ms(p95)) " from the planned time" }
                        @if point.in_flight > 0 { ", " (point.in_flight) " under way" }
                        @if point.dropped > 0 { ", " (per_second(point.dropped)) " dropped" }
                    }
                }
            }
        }
    }
}
