//! What is always in sight: how the stack is, what is wrong with it, and the way out.

use maud::{Markup, html};
use stack::{ActiveFault, Status};

use super::{form, number};
use crate::console::{hub::Look, view::View};

pub(super) fn render(view: &View, lock: Option<&str>) -> Markup {
    let faults: Vec<String> = view.look.status().into_iter().flat_map(Status::faults).map(name).collect();
    html! {
        div.bar {
            h1 { "lab console" }
            p.summary { (summary(view)) }
            // Also without a fault: what comes behind it keeps its place, and so the focus.
            p.fault-count {
                @if !faults.is_empty() {
                    strong { (faults.len()) @if faults.len() == 1 { " fault" } @else { " faults" } } ": " (faults.join(", "))
                }
            }
            (form("heal", lock.is_some(), "heal", &html! {
                button.primary-button type="submit" title={ (view.program) " heal" } { "Heal all" }
            }))
        }
        @if let Some(busy) = &view.busy { p.notice { "Under way: " (busy) " …" } }
        @if let Some(lock) = lock { p.notice.locked { (lock) } }
    }
}

fn name(fault: &ActiveFault) -> String {
    format!("{} {}", fault.kind.name(), fault.target)
}

fn summary(view: &View) -> Markup {
    html! {
        @match &view.look {
            Look::None => "Looking at the stack …",
            Look::Down(_) => "No stack is running.",
            Look::Trouble(_) => "The stack cannot be looked at.",
            Look::Up { status, .. } => {
                (status.replicas.len()) @if status.replicas.len() == 1 { " replica · " } @else { " replicas · " }
                (number::rate(view.clients.rate)) " · "
                @if view.clients.rate > 0.0 {
                    (number::percent(view.clients.failed)) " failed · p95 "
                    (view.clients.p95_ms.map_or_else(|| "–".to_owned(), number::ms)) " · "
                } @else { "no requests · " }
                a href={ (status.base_url) "/data" } rel="noreferrer" { (status.base_url) }
            }
        }
    }
}
