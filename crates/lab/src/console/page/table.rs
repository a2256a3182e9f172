//! The picture in words: for readers of screens, for narrow ones, and without scripts.

use maud::{Markup, html};
use stack::Target;

use super::{
    number,
    picture::{breakers, state},
};
use crate::console::view::View;

pub(super) fn render(view: &View) -> Markup {
    let Some(status) = view.look.status() else { return html! {} };
    html! {
        details.words {
            summary { "The same as a table" }
            div.scroll tabindex="0" role="group" aria-label="Table of the servers" {
                table {
                    thead { tr {
                        th scope="col" { "Server" } th scope="col" { "State" } th scope="col" { "Requests" }
                        th scope="col" { "Failed" } th scope="col" { "p95" } th scope="col" { "CPU" }
                        th scope="col" { "Memory" } th scope="col" { "Hits" } th scope="col" { "Breakers" }
                        th scope="col" { "Faults" }
                    } }
                    tbody {
                        @for (name, _, server) in status.servers() {
                            @let (sign, word) = state(view, name, server);
                            @let replica = view.replicas.get(&name);
                            @let usage = view.usage.get(&name);
                            @let edge = match name {
                                Target::Nginx => Some(view.clients),
                                _ => replica.map(|replica| replica.requests),
                            };
                            @let cpu = replica.and_then(|r| r.cpu).or_else(|| usage.and_then(|usage| usage.cpu));
                            @let memory = replica.and_then(|r| r.memory_bytes).or_else(|| usage.map(|u| u.memory_bytes));
                            tr {
                                th scope="row" { a href={ "#node-" (name) } { (name) } }
                                td { (sign) " " (word) }
                                td { (or_dash(edge.map(|edge| number::rate(edge.rate)))) }
                                td { (or_dash(edge.map(|edge| number::percent(edge.failed)))) }
                                td { (or_dash(edge.and_then(|edge| edge.p95_ms).map(number::ms))) }
                                td { (or_dash(cpu.map(number::percent))) }
                                td { (or_dash(memory.map(number::megabytes))) }
                                td { (or_dash(replica.and_then(|r| r.cache.hit_ratio()).map(number::percent))) }
                                td { (or_dash(replica.map(|r| breakers(r).unwrap_or_else(|| "closed".to_owned())))) }
                                td { (or_dash(faults(server))) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_owned())
}

fn faults(server: &stack::ServerStatus) -> Option<String> {
    let words: Vec<String> = server.faults.iter().map(|fault| fault.kind.to_string()).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
