//! Comparisons of constructed series of runs.

use super::*;
use crate::report::{Outcome, RepeatRecord};

const NOISE: [f64; 5] = [-0.03, -0.01, 0.0, 0.02, 0.03];

/// Runs of a closed loop whose rate and latency vary around the given median by a few percent; nothing fails.
fn side(rate: f64, latency: f64, noise: &[f64]) -> Report {
    let mut report: Report = serde_json::from_str(include_str!("../../tests/recorded/closed.json")).unwrap();
    report.verdict.invalid.clear();
    report.verdict.outcome = Outcome::Held;
    let run = |noise: &f64| Summary {
        requests_per_second: rate * (1.0 + noise),
        goodput_per_second: rate * (1.0 + noise),
        success_ratio: 1.0,
        mean_ms: Some(latency * (1.0 - noise)),
        p50_ms: Some(latency * (1.0 + noise)),
        p95_ms: Some(latency * (2.0 - noise)),
        p99_ms: Some(latency * (3.0 + noise)),
        planned: 10_000,
        succeeded: 10_000,
        in_flight_at_end: 0,
        ..report.summary.clone()
    };
    let repeat =
        |summary| RepeatRecord { outcome: Outcome::Held, summary, invalid: Vec::new(), conditions: Vec::new() };
    report.repeats = noise.iter().map(run).map(repeat).collect();
    report
}

fn findings(base: &Report, new: &Report) -> [Finding; 3] {
    Comparison::new(base, new).findings().map(|(_, finding)| finding)
}

/// The same runs with this number of failures in each.
fn failing(mut report: Report, failed: u64) -> Report {
    for run in &mut report.repeats {
        run.summary.succeeded = run.summary.planned - failed;
    }
    report
}

#[test]
fn throughput_and_latency_are_judged_apart() {
    use Finding::{Better, Same, Worse};
    let base = side(1_000.0, 10.0, &NOISE);
    assert_eq!(findings(&base, &side(1_500.0, 10.0, &NOISE)), [Better, Same, Same]);
    assert_eq!(findings(&base, &side(1_000.0, 15.0, &NOISE)), [Same, Worse, Same]);
    assert_eq!(findings(&base, &side(700.0, 7.0, &NOISE)), [Worse, Better, Same]);
    let text = Comparison::new(&base, &side(1_500.0, 10.0, &NOISE)).to_text();
    assert!(text.contains("Throughput: the new side is better.\nLatency: no significant difference.\n"), "{text}");
    assert!(text.contains("in a block"), "blocks are confounded with time: {text}");
}

#[test]
fn equal_sides_do_not_differ_and_trifles_are_not_called_a_difference() {
    let base = side(1_000.0, 10.0, &NOISE);
    assert_eq!(findings(&base, &base), [Finding::Same; 3]);
    let regular = |rate: f64| side(rate, 10.0, &[0.0, 0.001, 0.002, 0.003, 0.004]);
    assert_eq!(findings(&regular(1_000.0), &regular(1_010.0))[0], Finding::Same, "certainly there, and of no weight");
    assert_eq!(findings(&regular(1_000.0), &regular(1_030.0))[0], Finding::Better);
}

#[test]
fn failures_are_judged_in_points_and_from_none_to_some_is_worse() {
    let none = side(1_000.0, 10.0, &NOISE);
    assert_eq!(findings(&none, &failing(none.clone(), 190))[2], Finding::Worse, "100 % to 98.1 %");
    assert_eq!(findings(&none, &failing(none.clone(), 1))[2], Finding::Worse, "none before");
    assert_eq!(findings(&failing(none.clone(), 190), &none)[2], Finding::Better);
    assert_eq!(findings(&failing(none.clone(), 190), &failing(none.clone(), 195))[2], Finding::Same);
    let mut single = (none.clone(), failing(none.clone(), 10_000));
    for report in [&mut single.0, &mut single.1] {
        report.summary = report.repeats[0].summary.clone();
        report.repeats.clear();
    }
    assert_eq!(findings(&single.0, &single.1)[2], Finding::Worse, "counts are many even in a single run");
}

#[test]
fn few_runs_are_shown_and_not_judged() {
    let (mut base, mut new) = (side(1_000.0, 10.0, &NOISE), side(9_000.0, 1.0, &NOISE));
    base.summary = base.repeats[0].summary.clone();
    new.summary = new.repeats[0].summary.clone();
    for runs in [0, 1, 3] {
        base.repeats.truncate(runs);
        new.repeats.truncate(runs);
        assert_eq!(findings(&base, &new)[..2], [Finding::Unjudged; 2], "{runs}");
    }
    assert!(Comparison::new(&base, &new).to_text().contains("--repeat 5"));
}

#[test]
fn a_percentile_of_too_few_answers_is_not_judged() {
    let few = |latency| {
        let mut report = side(1_000.0, latency, &NOISE);
        for run in &mut report.repeats {
            (run.summary.planned, run.summary.succeeded) = (300, 300);
        }
        report
    };
    let rows = Comparison::new(&few(10.0), &few(20.0)).latency;
    let findings: Vec<Finding> = rows.iter().map(|row| row.finding).collect();
    assert_eq!(findings, [Finding::Worse, Finding::Worse, Finding::Worse, Finding::Unjudged]);
}

#[test]
fn unlike_and_invalid_sides_are_not_compared() {
    let base = side(1_000.0, 10.0, &NOISE);
    let refusal = |change: fn(&mut Report)| {
        let mut new = side(2_000.0, 10.0, &NOISE);
        change(&mut new);
        let comparison = Comparison::new(&base, &new);
        assert_eq!(comparison.findings().map(|(_, finding)| finding), [Finding::Unjudged; 3]);
        comparison.refusals.join("; ")
    };
    assert!(refusal(|new| new.plan.connections += 1).contains("connections 10 against 11"));
    assert!(refusal(|new| new.plan.requests_hash.push('x')).contains("other headers"));
    assert!(refusal(|new| new.machine.kernel.push('x')).contains("kernel"));
    assert!(refusal(|new| new.verdict.outcome = Outcome::Interrupted).contains("interrupted"));
    let invalid = refusal(|new| {
        new.verdict.outcome = Outcome::Invalid;
        new.verdict.invalid = vec!["run 2: generator saturated".to_owned()];
    });
    assert!(invalid.contains("new is no valid run: run 2: generator saturated"), "{invalid}");
}
