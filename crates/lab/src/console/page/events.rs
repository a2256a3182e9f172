//! The event log, newest first.

use maud::{Markup, html};
use time::{OffsetDateTime, UtcOffset, macros::format_description};

use crate::console::{
    events::{Event, Outcome},
    view::View,
};

pub(super) fn render(view: &View) -> Markup {
    html! {
        @if view.events.is_empty() {
            p.quiet { "Nothing yet. Click a server in the picture, or start a load." }
        } @else {
            // It scrolls, so a keyboard has to reach it.
            div.log tabindex="0" role="group" aria-label="What was done, newest first" {
                ol.events reversed { @for event in view.events.iter().rev() { (one(event)) } }
            }
        }
    }
}

fn one(event: &Event) -> Markup {
    let (class, word) = match event.outcome {
        Outcome::Running => ("running", "under way"),
        Outcome::Done => ("done", ""),
        Outcome::Failed => ("failed", "not done"),
    };
    html! {
        li.(class) data-key=(event.id) {
            p { time { (clock(event.at)) } " " strong { (event.what) } @if !word.is_empty() { " " em { (word) } } }
            @if !event.effects.is_empty() {
                ul { @for effect in &event.effects { li { (effect) } } }
            }
            @if let Some(command) = &event.command { p.command { code { (command) } } }
        }
    }
}

/// By the clock of UTC, as the logs have it.
pub(super) fn clock(at: OffsetDateTime) -> String {
    at.to_offset(UtcOffset::UTC).format(format_description!("[hour]:[minute]:[second]")).unwrap_or_default()
}
