//! The page: rendered on the server, whole for a browser without scripts, and by regions for the stream. One markup for both.

mod events;
mod lens;
mod load;
mod nodes;
mod number;
mod picture;
mod run;
mod switches;
mod table;
mod topbar;
mod tour;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{frame::Frame, hub::Hub, problem::Problem, view::View};

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    /// Has the token, and the console is not read-only.
    Acting,
    Watching,
}

impl Audience {
    pub(super) fn of(hub: &Hub, has_token: bool) -> Self {
        if has_token && !hub.options.is_read_only { Self::Acting } else { Self::Watching }
    }
}

/// Why the switches are off for this viewer. `None`: they are on.
fn locked(view: &View, audience: Audience) -> Option<String> {
    if view.is_read_only {
        return Some("This console only shows (--read-only).".to_owned());
    }
    if audience == Audience::Watching {
        return Some("To act, open the address that `lab console` printed: it has the token.".to_owned());
    }
    let holder = view.held_by.as_ref()?;
    Some(format!("The switches are off: the stack is held by {holder}."))
}

/// A form whose controls are off where the viewer cannot act.
fn form(action: &str, is_locked: bool, class: &str, inside: &Markup) -> Markup {
    html! {
        form method="post" action={ "/act/" (action) } class=(class) {
            fieldset disabled[is_locked] { (inside) }
        }
    }
}

/// Every region with its content.
pub(super) fn regions(view: &View, audience: Audience) -> Vec<(&'static str, String)> {
    let lock = locked(view, audience);
    let off = lock.is_some();
    let regions: [(&'static str, Markup); 10] = [
        ("topbar", topbar::render(view, lock.as_deref())),
        ("picture", picture::render(view)),
        ("table", table::render(view)),
        ("nodes", nodes::render(view, lock.as_deref())),
        ("run", run::render(view)),
        ("load", load::render(view, off)),
        ("switches", switches::render(view, off)),
        ("lens", lens::render(view, off)),
        ("events", events::render(view)),
        ("tour", tour::render(view, off)),
    ];
    regions.into_iter().map(|(name, markup)| (name, markup.into_string())).collect()
}

fn head(title: &str, is_live: bool) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) }
            link rel="icon" href="data:,";
            link rel="stylesheet" href="/assets/uplot.css";
            link rel="stylesheet" href="/assets/console.css";
            @if is_live {
                noscript { meta http-equiv="refresh" content="10"; }
                script src="/assets/uplot.js" defer {}
                script src="/assets/console.js" defer {}
            }
        }
    }
}

/// The whole page as it is now.
pub(super) fn document(frame: &Frame, audience: Audience) -> String {
    let region = |name: &str| {
        let inside = frame.region(name, audience);
        html! {
            div data-region=(name) {
                @match inside {
                    Some(inside) => (PreEscaped(&*inside)),
                    None => p.quiet { "Looking at the stack …" },
                }
            }
        }
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("lab console", true))
            body {
                a.skip href="#picture" { "To the picture" }
                header.topbar { (region("topbar")) }
                main {
                    section #picture aria-label="The stack" tabindex="-1" {
                        (region("picture"))
                        (region("table"))
                    }
                    div.primary {
                        section #run aria-label="A run of the lab" { (region("run")) }
                        section #charts aria-label="The last 15 minutes" {
                            noscript { p.quiet { "The charts need scripts. The table above is renewed every 10 s." } }
                            (chart("rate", "Answers per second, by outcome"))
                            (chart("latency", "Latency of good answers, in ms; the contract is p95 ≤ 320 ms"))
                            (chart("cache", "Reads per second, by what the cache said"))
                        }
                        div.pair {
                            section #load { h2 { "Load" } (region("load")) }
                            section #lens { h2 { "One request" } (region("lens")) }
                        }
                        section #switches { h2 { "Mechanisms" } (region("switches")) }
                    }
                    aside {
                        section #events { h2 { "What was done" } (region("events")) }
                        section #tour { h2 { "Guided tour" } (region("tour")) }
                    }
                }
                (region("nodes"))
                p #told role="status" aria-live="polite" {}
            }
        }
    };
    page.into_string()
}

fn chart(name: &str, title: &str) -> Markup {
    html! {
        figure.chart {
            figcaption { (title) }
            div data-chart=(name) {}
        }
    }
}

/// What a browser without scripts is shown when an action is refused.
pub(super) fn refusal(problem: &Problem) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            (head("Not done", false))
            body { main.plain {
                h1 { "Not done" }
                p { (problem.detail) }
                p.quiet { (problem.status.as_u16()) " " (problem.code) }
                p { a href="/" { "Back to the console" } }
            } }
        }
    };
    page.into_string()
}
