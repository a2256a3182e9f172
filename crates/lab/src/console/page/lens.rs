//! The request lens: the form, and what became of the last request.

use maud::{Markup, html};

use super::{form, number};
use crate::console::{
    lens::{LensAnswer, LensResult},
    view::View,
};

pub(super) fn render(view: &View, is_locked: bool) -> Markup {
    html! {
        (form("lens", is_locked, "row", &html! {
            label { "GET" input type="text" name="path" value="/data/1" required maxlength="300" spellcheck="false"; }
            label.check { input type="checkbox" name="past_cache" value="on"; "past the cache" }
            button type="submit" { "Send" }
        }))
        @if let Some(result) = &view.lens { (shown(result)) }
    }
}

fn shown(result: &LensResult) -> Markup {
    html! {
        @match &result.outcome {
            Err(error) => p.bad { (result.request) ": " (error) },
            Ok(answer) => {
                p { strong { (answer.status) } " for " code { (result.request) } " after "
                    (number::ms(result.elapsed.as_secs_f64() * 1e3)) }
                (way(result, answer))
                (waterfall(result, answer))
                (problem(answer))
                details data-key="headers" {
                    summary { "Headers and body" }
                    table.headers { tbody {
                        @for (name, value) in &answer.headers { tr { th scope="row" { (name) } td { (value) } } }
                    } }
                    pre tabindex="0" { (answer.body) }
                }
            }
        }
        p.command { code { (result.command) } }
    }
}

fn way(result: &LensResult, answer: &LensAnswer) -> Markup {
    html! {
        ol.way {
            @for (number, attempt) in result.tries.iter().enumerate() {
                li { "try " (number + 1) ": " strong { (attempt.server) }
                    " → " (if attempt.status == "-" { "no answer" } else { attempt.status.as_str() })
                    " in " (attempt.duration) }
            }
            @if result.tries.is_empty() {
                li { "answered by " strong { (answer.header("x-instance").unwrap_or("nginx")) } }
            }
            @if let Some(cache) = answer.header("cache-status") { li { "cache: " code { (cache) } } }
            @if let Some(age) = answer.header("age") { li { "age " (age) " s" } }
        }
    }
}

/// Bars in the order of the header; their sum is not the whole time, the rest is nginx, the replica and the way.
fn waterfall(result: &LensResult, answer: &LensAnswer) -> Markup {
    let whole = (result.elapsed.as_secs_f64() * 1e3).max(0.001);
    let mut at = 0.0;
    let bars: Vec<(String, f64, f64)> = answer
        .timings
        .iter()
        .map(|(name, ms)| {
            let bar = (name.clone(), at, *ms);
            at += ms;
            bar
        })
        .chain([("all".to_owned(), 0.0, whole)])
        .collect();
    let height = bars.len() as f64 * 24.0;
    let x = |ms: f64| format!("{:.1}", 70.0 + 200.0 * (ms / whole).min(1.0));
    let width = |ms: f64| format!("{:.1}", (200.0 * (ms / whole).min(1.0)).max(1.5));
    html! {
        svg.waterfall viewBox={ "0 0 360 " (height) } role="img" aria-label="Where the time went" {
            @for (row, (name, start, ms)) in bars.iter().enumerate() {
                @let y = row as f64 * 24.0;
                text x="62" y={ (y + 16.0) } text-anchor="end" { (name) }
                rect.span.all[name == "all"] x={ (x(*start)) } y={ (y + 5.0) } width={ (width(*ms)) } height="14" {}
                text x={ (x(*start + *ms)) } dx="6" y={ (y + 16.0) } { (number::ms(*ms)) }
            }
        }
    }
}

fn problem(answer: &LensAnswer) -> Markup {
    html! {
        @if let Some(problem) = &answer.problem {
            details.problem data-key="problem" open {
                summary { code { (problem.code) } ": " (problem.title) }
                @if let Some(page) = &problem.page { pre tabindex="0" { (page) } }
            }
        }
    }
}
