//! Several runs of one plan (`--repeat`): every run is judged, and the one with the median rate is shown in full.

use super::condition::{Condition, Measured};
use super::{ConditionResult, Outcome, RepeatRecord, Report};

/// From the worst to the best: the overall verdict is the first of these that any run has.
const FROM_WORST: [Outcome; 4] = [Outcome::Interrupted, Outcome::Invalid, Outcome::Deviated, Outcome::Held];

impl Report {
    /// The report of several runs, each of which was already judged by `conditions`. The overall verdict is that of the
    /// worst run, and each condition shows the run with its worst value.
    pub(crate) fn of_repeats(mut reports: Vec<Self>, conditions: &[Condition]) -> Self {
        if reports.len() == 1 {
            return reports.remove(0);
        }
        let records = reports.iter().map(|report| RepeatRecord {
            outcome: report.verdict.outcome,
            summary: report.summary.clone(),
            invalid: report.verdict.invalid.clone(),
            conditions: report.verdict.conditions.clone(),
        });
        let repeats: Vec<RepeatRecord> = records.collect();
        let outcomes: Vec<Outcome> = repeats.iter().map(|run| run.outcome).collect();
        let worst = FROM_WORST.into_iter().find(|outcome| outcomes.contains(outcome)).unwrap_or(Outcome::Invalid);
        let conditions = worst_results(&reports, conditions);
        let invalid: Vec<String> = numbered(&repeats, |run| &run.invalid);

        let mut order: Vec<usize> = (0..reports.len()).collect();
        order.sort_by(|a, b| {
            repeats[*a].summary.requests_per_second.total_cmp(&repeats[*b].summary.requests_per_second)
        });
        let mut median = reports.swap_remove(order[(order.len() - 1) / 2]);
        let failed = |outcome: Outcome| outcomes.iter().filter(|other| **other == outcome).count();
        if worst != Outcome::Held {
            median.verdict.notes.push(format!("{} of {} runs: {}", failed(worst), repeats.len(), worst.word()));
        }
        median.verdict.outcome = worst;
        median.verdict.invalid = invalid;
        median.verdict.conditions = conditions;
        median.repeats = repeats;
        median
    }
}

/// For each condition the result of the run with its worst value, and the number of that run.
fn worst_results(reports: &[Report], conditions: &[Condition]) -> Vec<ConditionResult> {
    let totals: Vec<_> = reports.iter().map(Report::total).collect();
    let kinds: Vec<Vec<String>> =
        reports.iter().map(|report| report.kinds.iter().map(|kind| kind.name.clone()).collect()).collect();
    let measured =
        |run: usize| Measured { total: &totals[run], kinds: &kinds[run], seconds: reports[run].summary.elapsed_s };
    let mut results = Vec::new();
    for (at, condition) in conditions.iter().enumerate() {
        let badness = |run: &usize| condition.badness(&measured(*run));
        let worst = (0..reports.len()).max_by(|a, b| badness(a).total_cmp(&badness(b))).unwrap_or(0);
        results.push(ConditionResult { run: Some(worst + 1), ..reports[worst].verdict.conditions[at].clone() });
    }
    // Not part of any condition: some request must succeed.
    for (run, report) in reports.iter().enumerate() {
        let others = report.verdict.conditions.iter().skip(conditions.len());
        results.extend(others.map(|result| ConditionResult { run: Some(run + 1), ..result.clone() }));
    }
    results
}

/// The reasons of all runs, each with the number of its run.
fn numbered(runs: &[RepeatRecord], reasons: fn(&RepeatRecord) -> &Vec<String>) -> Vec<String> {
    let of_run = |(at, run)| reasons(run).iter().map(move |reason: &String| format!("run {}: {reason}", at + 1));
    runs.iter().enumerate().flat_map(of_run).collect()
}
