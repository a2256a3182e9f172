//! The picture: clients → nginx → replicas → Redis and Postgres, always in the same places. A wide edge is many requests, a
//! red dashed part of it are those that failed; words say the same.

mod edge;
mod geometry;
mod node;

use maud::{Markup, html};
use stack::{Status, Target};

use self::geometry::{Layout, WIDTH};
use super::form;
use crate::console::{
    hub::Look,
    replica::{Edge, Replica},
    view::View,
};

pub(super) use self::node::{breakers, state};

type EdgeOf = fn(&Replica) -> Edge;

/// Where replicas send requests to.
const DEPENDENCIES: [(Target, EdgeOf); 2] =
    [(Target::Redis, |replica| replica.redis), (Target::Postgres, |replica| replica.postgres)];

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
    let is_crowded = layout.is_wrapped();
    let names = || status.replicas.iter().map(|replica| replica.name).enumerate();
    let of = |name: Target, edge: EdgeOf| view.replicas.get(&name).map(edge).unwrap_or_default();
    let sum = |edge: EdgeOf| {
        let mut sum = Edge::default();
        view.replicas.values().for_each(|replica| sum.add(edge(replica)));
        sum
    };
    html! {
        p.quiet.sideways { "The picture is wider than this screen: it can be moved sideways." }
        div.scroll tabindex="0" role="group" aria-label="Picture of the stack; the table below says the same" {
            svg.picture viewBox={ "0 0 " (WIDTH) " " (layout.height) } xmlns="http://www.w3.org/2000/svg" {
                g.edges {
                    (edge::draw(&layout.entry(), &view.clients, false))
                    @for (index, name) in names() {
                        (edge::draw(&layout.to_replica(index), &of(name, |replica| replica.requests), is_crowded))
                        @for (target, to) in DEPENDENCIES {
                            (edge::draw(&layout.to_dependency(index, target), &of(name, to), is_crowded))
                        }
                    }
                }
                g.labels {
                    (edge::label(&view.clients, layout.entry_label(), false))
                    @for (index, name) in names() {
                        (edge::label(&of(name, |replica| replica.requests), layout.replica_label(index), is_crowded))
                    }
                    @for (target, to) in DEPENDENCIES { (edge::label(&sum(to), layout.dependency_label(target), false)) }
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
