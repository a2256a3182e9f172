//! One server: name, state, what it uses and what is broken about it. A click leads to its switches.

use maud::{Markup, html};
use stack::{ServerStatus, State, Target};

use super::super::number;
use super::geometry::{Card, WIDTH};
use crate::console::{
    replica::{Breaker, Replica},
    view::View,
};

/// A sign for each state, so that it is not told by colour alone.
pub(in super::super) fn state(view: &View, target: Target, server: &ServerStatus) -> (&'static str, &'static str) {
    if view.replicas.get(&target).is_some_and(|replica| replica.is_draining) {
        return ("↓", "draining");
    }
    match server.state {
        State::Up => ("●", "up"),
        State::Paused => ("‖", "paused"),
        State::Stopped => ("✕", "stopped"),
        State::Starting => ("◔", "starting"),
    }
}

pub(super) fn clients(view: &View, card: Card) -> Markup {
    let load = view.load.as_ref();
    let sent = load.and_then(|load| load.last.as_ref()).map(|point| point.sent as f64 / point.seconds.max(1e-3));
    html! {
        a data-key="clients" href="#load" aria-label="Clients: open the load panel" {
            g.node.clients {
                (frame(card))
                (line(card, 0, "name", "clients"))
                (line(card, 1, "", &match (load, sent) {
                    (None, _) => "load is off".to_owned(),
                    (Some(_), None) => "load starts".to_owned(),
                    (Some(_), Some(rate)) => format!("load {}", number::rate(rate)),
                }))
            }
        }
    }
}

pub(super) fn server(view: &View, target: Target, server: &ServerStatus, card: Card) -> Markup {
    let (sign, word) = state(view, target, server);
    let lines = match target {
        Target::Api(_) => view.replicas.get(&target).map(replica_lines).unwrap_or_default(),
        Target::Nginx | Target::Redis | Target::Postgres => other_lines(view, target),
    };
    let fault = badge(view, server);
    let label =
        format!("{target}, {word}{}: open its switches", fault.as_ref().map(|f| format!(", {f}")).unwrap_or_default());
    html! {
        a data-key=(target) href={ "#node-" (target) } aria-label=(label) {
            g.node.(word).broken[fault.is_some()] {
                (frame(card))
                (line(card, 0, "name", &target.to_string()))
                text.state x={ (card.x + card.width - 12.0) } y={ (format!("{:.0}", card.y + 24.0)) } text-anchor="end" {
                    (sign) " " (word)
                }
                @for (index, (class, text)) in lines.iter().enumerate() { (line(card, index + 1, class, text)) }
                @if let Some(fault) = &fault { (pill(card, fault)) }
            }
        }
    }
}

fn frame(card: Card) -> Markup {
    html! {
        rect x=(card.x) y={ (format!("{:.0}", card.y)) } width=(card.width) height=(card.height) rx="6" {}
    }
}

fn line(card: Card, row: usize, class: &str, text: &str) -> Markup {
    let y = card.y + 24.0 + row as f64 * 19.0 - if row > 0 { 0.0 } else { 1.0 };
    html! { text.(if class.is_empty() { "detail" } else { class }) x={ (card.x + 12.0) } y={ (format!("{y:.0}")) } { (text) } }
}

type Lines = Vec<(&'static str, String)>;

fn usage(cpu: Option<f64>, memory: Option<f64>) -> String {
    let parts = [cpu.map(|cpu| format!("CPU {}", number::percent(cpu))), memory.map(number::megabytes)];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn replica_lines(replica: &Replica) -> Lines {
    let in_flight = match (replica.in_flight, replica.limit) {
        (Some(now), Some(limit)) if limit > 0.0 => format!("{now:.0} of {limit:.0} in flight"),
        (Some(now), _) => format!("{now:.0} in flight, no limit"),
        (None, _) => String::new(),
    };
    let hits = replica
        .cache
        .hit_ratio()
        .map_or_else(|| "no reads".to_owned(), |ratio| format!("hits {}", number::percent(ratio)));
    let pool = match (replica.pool_in_use, replica.pool_max) {
        (Some(used), Some(max)) => format!(" · pool {used:.0}/{max:.0}"),
        _ => String::new(),
    };
    let breakers = breakers(replica);
    let mut lines =
        vec![("", usage(replica.cpu, replica.memory_bytes)), ("", in_flight), ("", format!("{hits}{pool}"))];
    lines.push(breakers.map_or(("", "breakers closed".to_owned()), |text| ("alarm", text)));
    lines
}

/// Those that are not closed.
pub(in super::super) fn breakers(replica: &Replica) -> Option<String> {
    let both = [("redis", replica.redis_breaker), ("postgres", replica.postgres_breaker)];
    let open: Vec<String> = both
        .into_iter()
        .filter_map(|(name, breaker)| Some((name, breaker.filter(|breaker| *breaker != Breaker::Closed)?)))
        .map(|(name, breaker)| format!("{name} {}", breaker.as_str()))
        .collect();
    (!open.is_empty()).then(|| format!("breaker: {}", open.join(", ")))
}

fn other_lines(view: &View, target: Target) -> Lines {
    let used = view.usage.get(&target);
    let mut lines = vec![("", usage(used.and_then(|used| used.cpu), used.map(|used| used.memory_bytes)))];
    match target {
        Target::Nginx if view.retried > 0.0 => {
            lines.push(("alarm", format!("tried again {}", number::rate(view.retried))));
        }
        Target::Nginx => lines.push(("", "none tried again".to_owned())),
        Target::Redis => lines.push(("", "cache".to_owned())),
        Target::Postgres => {
            let pools: f64 = view.replicas.values().filter_map(|replica| replica.pool_in_use).sum();
            lines.push(("", format!("{pools:.0} connections in use")));
        }
        Target::Api(_) => {}
    }
    lines.retain(|(_, text)| !text.is_empty());
    lines
}

/// `pause · 12 s · 8 s left`
fn badge(view: &View, server: &ServerStatus) -> Option<String> {
    let first = server.faults.first()?;
    let kinds: Vec<&str> = server.faults.iter().map(|fault| fault.kind.name()).collect();
    let age = number::seconds(first.age().as_secs_f64());
    let left = view.until.get(&first.id).map(|until| (*until - view.now).as_seconds_f64());
    let left = left.map(|left| format!(" · {} left", number::seconds(left))).unwrap_or_default();
    Some(format!("{} · {age}{left}", kinds.join(" + ")))
}

fn pill(card: Card, text: &str) -> Markup {
    let width = (text.chars().count() as f64 * 7.4 + 24.0).min(card.width + 20.0);
    // Wider than its server, but not than the picture.
    let x = (card.x + (card.width - width) / 2.0).min(WIDTH - width - 1.0);
    let y = card.y + card.height - 11.0;
    html! {
        g.pill {
            rect x={ (format!("{x:.0}")) } y={ (format!("{y:.0}")) } width={ (format!("{width:.0}")) } height="23" rx="11" {}
            text x={ (format!("{:.0}", x + width / 2.0)) } y={ (format!("{:.0}", y + 16.0)) } text-anchor="middle" {
                (text)
            }
        }
    }
}
