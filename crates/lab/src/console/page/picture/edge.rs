//! One edge: its width tells the rate, a red dashed part the failures, its label both in words.

use maud::{Markup, html};

use super::super::number;
use super::geometry::Spot;
use crate::console::replica::Edge;

/// Ten times the requests are three units more, and half of that where edges are many.
fn width(rate: f64, is_crowded: bool) -> f64 {
    let width = if rate < 0.05 { 1.5 } else { 2.0 + 3.0 * (1.0 + rate).log10() };
    if is_crowded { (width / 2.0).max(1.5) } else { width }
}

pub(super) fn draw(path: &str, edge: &Edge, is_crowded: bool) -> Markup {
    let width = width(edge.rate, is_crowded);
    let is_active = edge.rate >= 0.05;
    // Failures are never too few to be seen.
    let failed = (width * edge.failed).max(2.0);
    html! {
        path.edge.flow[is_active] d=(path) stroke-width={ (format!("{width:.1}")) } {}
        @if is_active && edge.failed > 0.0 {
            path.edge.failed d=(path) stroke-width={ (format!("{failed:.1}")) } {}
        }
    }
}

/// `is_short`: only the rate, where there is little room. Labels stand over all edges: they are drawn after them.
pub(super) fn label(edge: &Edge, spot: Spot, is_short: bool) -> Markup {
    html! {
        text.edge-label x={ (format!("{:.0}", spot.x)) } y={ (format!("{:.0}", spot.y)) } text-anchor=(spot.anchor) {
            (number::rate(edge.rate))
            @if let (Some(p95), false) = (edge.p95_ms, is_short) { " · p95 " (number::ms(p95)) }
        }
        @if edge.failed > 0.0 {
            text.edge-label.bad x={ (format!("{:.0}", spot.x)) } y={ (format!("{:.0}", spot.y - 17.0)) } text-anchor=(spot.anchor) {
                (number::percent(edge.failed)) @if is_short { " ✕" } @else { " failed" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_said_and_not_only_drawn() {
        let edge = Edge { rate: 100.0, failed: 0.12, p95_ms: Some(3.0) };
        let spot = Spot { x: 0.0, y: 0.0, anchor: "end" };
        let text = draw("M0 0", &edge, false).into_string() + &label(&edge, spot, false).into_string();
        for part in ["edge failed", "12 % failed", "100/s · p95 3.0 ms"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let none = draw("M0 0", &Edge::default(), false);
        assert!(!none.into_string().contains("flow"));
    }
}
