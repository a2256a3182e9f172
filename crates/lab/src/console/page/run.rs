//! A run of the lab on this stack: where it is, what it has shown so far, and its report.

use maud::{Markup, html};

use super::events::clock;
use crate::{
    console::{
        run::{Hypothesis, Progress, RunState},
        view::View,
    },
    verdict::Outcome,
};

pub(super) fn render(view: &View) -> Markup {
    let Some(run) = view.run.as_deref() else { return html! {} };
    let (class, word) = word(run.progress);
    html! {
        div.run.(class) {
            h2 { @if run.progress == Progress::Running { "A run is in progress: " } @else { "The last run: " } (run.name) " " em { (word) } }
            p { (run.question) }
            @if run.progress == Progress::Running && !run.arm.is_empty() { p { strong { "Arm " (run.arm) } " · " (run.phase) } }
            @if let (Some(_), true) = (&run.report, run.progress != Progress::Running) {
                p { a.report href="/run/report" target="_blank" rel="noreferrer" { "Open its report" } " " code { (run.command) } }
            }
            @if run.reports.is_some() {
                p { a.reports href="/reports/" target="_blank" rel="noreferrer" { "All reports of its folder" } }
            }
            @if run.progress == Progress::Running {
                ul.steps { @for step in &run.steps { li { time { (clock(step.at)) } " " (step.text) } } }
            }
            details open[run.progress == Progress::Running] {
                summary { "Hypotheses: " (decided(run)) " of " (run.hypotheses.len()) " decided" }
                ul.hypotheses { @for hypothesis in &run.hypotheses { (one(hypothesis)) } }
            }
        }
    }
}

fn decided(run: &RunState) -> usize {
    run.hypotheses.iter().filter(|hypothesis| hypothesis.outcome.is_some()).count()
}

fn word(progress: Progress) -> (&'static str, &'static str) {
    match progress {
        Progress::Running => ("running", ""),
        Progress::Complete(outcome) => (outcome.as_str(), outcome.as_str()),
        Progress::Interrupted => ("invalid", "interrupted"),
        Progress::Failed => ("invalid", "failed"),
        Progress::Lost => ("invalid", "ended without a word"),
    }
}

fn one(hypothesis: &Hypothesis) -> Markup {
    let (sign, class) = match hypothesis.outcome {
        None => ("○ open", "open"),
        Some(Outcome::Held) => ("✓ held", "held"),
        Some(Outcome::Deviated) => ("✕ deviated", "deviated"),
        Some(Outcome::Invalid) => ("? invalid", "invalid"),
        Some(Outcome::Skipped) => ("– skipped", "skipped"),
    };
    html! {
        li.(class) {
            b { (sign) } " " (hypothesis.arm) ": " (hypothesis.says) " " span.quiet {
                (hypothesis.limit) @if !hypothesis.saw.is_empty() { " · " (hypothesis.saw) }
            }
        }
    }
}
