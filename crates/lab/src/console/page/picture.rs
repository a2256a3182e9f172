//! The picture: clients → nginx → replicas → Redis and Postgres, always in the same places. A wide edge is many requests, a
//! red dashed part of it are those that failed; words say the same.

mod edge;
mod geometry;
mod node;

use maud::{Markup, html};
use stack::{Status, Target};

use self::{
    edge::{Line, draw},
    geometry::{Layout, WIDTH},
};
use super::form;
use crate::console::{
    hub::Look,
    replica::{Edge, Replica},
    view::View,
};

pub(super) use self::node::{breakers, state};

pub(super) fn render(view: &View) -> Markup {
    match &view.look {
        Look::None => html! { p.quiet { "Looking at the stack …" } },
        Look::Down(why) => down(view, why),
        Look::Trouble(why) => html! {
            div.empty {
                h2 { "The stack cannot be looked at" }
                p { (why) }
                p.quiet { "The console goes on trying." }
            }
        },
        Look::Up { status, .. } => svg(view, status),
    }
}

fn down(view: &View, why: &str) -> Markup {
    html! {
        div.empty {
            h2 { "No stack is running" }
            p { (why) }
            p { "In a terminal: " code { (view.program) " up --detach" } }
            @if view.can_start && !view.is_read_only {
                (form("up", view.busy.is_some(), "", &html! {
                    button.primary-button type="submit" { "Start the stack" }
                }))
            }
        }
    }
}

fn svg(view: &View, status: &Status) -> Markup {
    let layout = Layout::new(status.replicas.len());
    let replica = |name: Target| view.replicas.get(&name);
    let sum = |of: fn(&Replica) -> Edge| {
        let mut sum = Edge::default();
        view.replicas.values().for_each(|replica| sum.add(of(replica)));
        sum
    };
    let entry = Line { path: layout.entry(), edge: view.clients, label: Some(layout.entry_label()), is_short: false };
    html! {
        div.scroll tabindex="0" role="group" aria-label="Picture of the stack; the table below says the same" {
            svg.picture viewBox={ "0 0 " (WIDTH) " " (layout.height) } xmlns="http://www.w3.org/2000/svg" {
                g.edges {
                    (draw(&entry))
                    @for (index, found) in status.replicas.iter().enumerate() {
                        @let said = replica(found.name);
                        @let edge = |of: fn(&Replica) -> Edge| said.map(of).unwrap_or_default();
                        (draw(&Line {
                            path: layout.to_replica(index),
                            edge: edge(|replica| replica.requests),
                            label: Some(layout.replica_label(index)),
                            is_short: layout.is_wrapped(),
                        }))
                        (draw(&Line {
                            path: layout.to_dependency(index, Target::Redis),
                            edge: edge(|replica| replica.redis), label: None, is_short: false,
                        }))
                        (draw(&Line {
                            path: layout.to_dependency(index, Target::Postgres),
                            edge: edge(|replica| replica.postgres), label: None, is_short: false,
                        }))
                    }
                    (edge::label(&sum(|replica| replica.redis), layout.dependency_label(Target::Redis), false))
                    (edge::label(&sum(|replica| replica.postgres), layout.dependency_label(Target::Postgres), false))
                }
                (node::clients(view, layout.clients()))
                (node::server(view, Target::Nginx, &status.dependencies.nginx.server, layout.nginx()))
                @for (index, found) in status.replicas.iter().enumerate() {
                    (node::server(view, found.name, &found.server, layout.replica(index)))
                }
                (node::server(view, Target::Redis, &status.dependencies.redis.server, layout.dependency(Target::Redis)))
                (node::server(
                    view, Target::Postgres, &status.dependencies.postgres.server, layout.dependency(Target::Postgres)
                ))
            }
        }
    }
}
