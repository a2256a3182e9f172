//! A run in one sentence: the verdict and the two main figures.

use super::words;
use crate::{
    journal::Run,
    verdict::{Judged, Outcome, Verdict},
};

/// What did not hold comes first. Of what held: the first hypothesis, because an experiment states its main one first,
/// and the next one about something else.
pub(super) fn figures(verdict: &Verdict) -> Vec<&Judged> {
    let of = |outcome: Outcome| verdict.judged.iter().filter(move |judged| judged.outcome == outcome);
    let mut chosen: Vec<&Judged> = of(Outcome::Deviated).take(2).collect();
    for judged in of(Outcome::Held).chain(of(Outcome::Invalid)) {
        let is_other = chosen.iter().all(|known| known.measure != judged.measure);
        if chosen.len() < 2 && is_other {
            chosen.push(judged);
        }
    }
    chosen
}

/// `3 of 4 hypotheses held.` and why the run cannot be judged, if it cannot.
pub(super) fn tally(verdict: &Verdict) -> String {
    let all = verdict.judged.iter().filter(|judged| judged.outcome != Outcome::Skipped).count();
    let held = verdict.judged.iter().filter(|judged| judged.outcome == Outcome::Held).count();
    let skipped = verdict.judged.len() - all;
    let mut text = if held == all && all > 1 {
        format!("All {all} hypotheses held")
    } else {
        format!("{held} of {} held", words::plural(all as u64, "hypothesis", "hypotheses"))
    };
    if skipped > 0 {
        text += &format!(", {skipped} not judged on this machine");
    }
    text + "."
}

/// The figures in words.
pub(super) fn sentence(run: &Run<'_>, verdict: &Verdict) -> String {
    let with_arm = run.begin.experiment.arms.len() > 1;
    let figures = figures(verdict);
    let figure = |judged: &&Judged| {
        let arm = if with_arm { format!(" ({})", judged.arm) } else { String::new() };
        let limit =
            judged.observed.as_ref().map_or_else(String::new, |_| format!("; limit {}", words::grouped(&judged.limit)));
        format!("{}{arm}: {}{limit}.", words::capital(&judged.says), words::figure(judged))
    };
    let figures: Vec<String> = figures.iter().map(figure).collect();
    [&[tally(verdict)], figures.as_slice()].concat().join(" ")
}
