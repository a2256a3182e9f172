//! The final output: the verdict, the hypotheses with their figures, and the path of the report.

use std::path::Path;

use super::Told;
use crate::{
    journal::Run,
    verdict::{Judged, Outcome, Verdict, number},
};

/// The limit of lines.
const MOST_LINES: usize = 12;

pub(super) fn text(run: &Run<'_>, verdict: &Verdict, report: &Path) -> String {
    let name = &run.begin.experiment.about.name;
    let mut lines = vec![format!("{name}: {}", verdict.outcome.as_str().to_uppercase())];
    // What did not hold comes first. If everything held, all hypotheses are shown as far as they fit.
    let mut judged: Vec<&Judged> = verdict.judged.iter().collect();
    judged.sort_by_key(|judged| std::cmp::Reverse(judged.outcome));
    lines.extend(judged.iter().take(MOST_LINES).map(|judged| line(judged)));
    if judged.len() > MOST_LINES {
        lines.push(format!("  … and {} more, in the report", judged.len() - MOST_LINES));
    }
    lines.extend(verdict.invalid.iter().map(|why| format!("  invalid: {why}")));
    lines.push(format!("  {}", report.display()));
    lines.join("\n")
}

fn line(judged: &Judged) -> String {
    let figure = match &judged.observed {
        Some(observed) if !observed.text.is_empty() => observed.text.clone(),
        Some(observed) => format!("{} {}", number(observed.value), judged.unit).trim_end().to_owned(),
        None => judged.why.clone(),
    };
    let limit = if judged.outcome == Outcome::Skipped { String::new() } else { format!(" ({})", judged.limit) };
    format!("  {:8}  {} [{}]: {figure}{limit}", judged.outcome.as_str(), judged.says, judged.arm)
}

pub(super) fn table(told: &[Told]) -> String {
    let width = told.iter().map(|told| told.name.len()).max().unwrap_or(0);
    let rows = told.iter().map(|Told { name, verdict, .. }| {
        let held = verdict.judged.iter().filter(|judged| judged.outcome == Outcome::Held).count();
        format!("{name:width$}  {:8}  {held} of {} held", verdict.outcome.as_str(), verdict.judged.len())
    });
    rows.collect::<Vec<_>>().join("\n")
}
