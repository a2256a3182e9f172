//! Comparisons of made-up rows of runs.

use super::*;

/// Runs whose rate and latency wander around the given middle by a few percent.
fn side(rate: f64, latency: f64) -> Report {
    let mut report: Report = serde_json::from_str(include_str!("../../tests/recorded/open.json")).unwrap();
    report.verdict.invalid.clear();
    report.repeats = [-0.03, -0.01, 0.0, 0.02, 0.03]
        .map(|noise| Summary {
            requests_per_second: rate * (1.0 + noise),
            goodput_per_second: rate * (1.0 + noise),
            success_ratio: 1.0,
            mean_ms: Some(latency * (1.0 - noise)),
            p50_ms: Some(latency * (1.0 + noise)),
            p95_ms: Some(latency * (2.0 - noise)),
            p99_ms: Some(latency * (3.0 + noise)),
            ..report.summary.clone()
        })
        .to_vec();
    report
}

fn findings(base: &Report, new: &Report) -> (Finding, Finding) {
    let comparison = Comparison::new(base, new);
    (Comparison::overall(&comparison.throughput), Comparison::overall(&comparison.latency))
}

#[test]
fn throughput_and_latency_are_judged_apart() {
    let base = side(1_000.0, 10.0);
    assert_eq!(findings(&base, &side(1_500.0, 10.0)), (Finding::Better, Finding::Same));
    assert_eq!(findings(&base, &side(1_000.0, 15.0)), (Finding::Same, Finding::Worse));
    assert_eq!(findings(&base, &side(700.0, 7.0)), (Finding::Worse, Finding::Better));
    let text = Comparison::new(&base, &side(1_500.0, 10.0)).to_text();
    assert!(text.contains("Throughput: the new side is better.\nLatency: no significant difference.\n"), "{text}");
}

#[test]
fn equal_sides_do_not_differ_and_trifles_are_not_called_a_difference() {
    let base = side(1_000.0, 10.0);
    assert_eq!(findings(&base, &base), (Finding::Same, Finding::Same));
    let regular = |rate: f64| {
        let mut report = base.clone();
        for (n, run) in report.repeats.iter_mut().enumerate() {
            run.requests_per_second = rate + n as f64;
            run.goodput_per_second = rate + n as f64;
        }
        report
    };
    assert_eq!(findings(&regular(1_000.0), &regular(1_010.0)).0, Finding::Same, "certainly there, and of no weight");
    assert_eq!(findings(&regular(1_000.0), &regular(1_030.0)).0, Finding::Better);
}

#[test]
fn single_runs_are_shown_and_not_judged() {
    let (mut base, mut new) = (side(1_000.0, 10.0), side(9_000.0, 1.0));
    base.repeats.clear();
    new.repeats.clear();
    assert_eq!(findings(&base, &new), (Finding::Unjudged, Finding::Unjudged));
    assert!(Comparison::new(&base, &new).to_text().contains("--repeat 5"));
}

#[test]
fn another_load_is_pointed_out() {
    let (base, mut new) = (side(1_000.0, 10.0), side(1_000.0, 10.0));
    new.plan.connections += 1;
    new.plan.curve.clear();
    let text = Comparison::new(&base, &new).to_text();
    assert!(text.contains("connections 60 against 61") && text.contains("another rate over time"), "{text}");
}
