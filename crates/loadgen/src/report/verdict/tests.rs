//! Verdicts of constructed runs.

use super::*;
use crate::report::{LatencyStats, Stalls, Summary, ThreadRecord};

/// A valid open-loop run of 10 s.
fn report() -> Report {
    let mut report: Report = serde_json::from_str(include_str!("../../../tests/recorded/open.json")).unwrap();
    let planned = 100_000;
    report.summary = Summary { planned, sent: planned, answered: planned, succeeded: planned, ..report.summary };
    report.summary = Summary { dropped: 0, late: 0, distorted: 0, unanswered: 0, retries: 0, ..report.summary };
    report.errors.clear();
    report.generator.threads = vec![thread(0.1, Some(0.0))];
    report.generator.stalls = Stalls::default();
    report.generator.measured_s = 10.0;
    report.latency = latency(0.2, 0.2);
    report.ending = Ending::Complete;
    report
}

fn thread(cpu_share: f64, waiting_share: Option<f64>) -> ThreadRecord {
    ThreadRecord { cpu_share, waiting_share }
}

/// Percentiles that differ from p99 upwards.
fn latency(p99_ms: f64, service_p99_ms: f64) -> LatencyTable {
    let stats = |p99_ms| LatencyStats {
        count: 100_000,
        mean_ms: 0.2,
        min_ms: 0.2,
        p50_ms: 0.2,
        p90_ms: 0.2,
        p95_ms: 0.2,
        p99_ms,
        p99_9_ms: p99_ms,
        max_ms: p99_ms,
        too_few_for: Vec::new(),
    };
    LatencyTable { all: Some(stats(p99_ms)), good: None, bad: None, service: Some(stats(service_p99_ms)) }
}

/// Why the run is invalid under these conditions.
fn invalid(mut report: Report, conditions: &[&str]) -> Vec<String> {
    report.generator.saturated = is_saturated(&report);
    let conditions: Vec<Condition> = conditions.iter().map(|text| text.parse().unwrap()).collect();
    report.judge(&conditions);
    report.verdict.invalid
}

#[test]
fn a_busy_or_late_generator_is_saturated_and_a_short_run_is_not_judged() {
    for (saturated, cpu, waiting, measured_s, p99, service_p99) in [
        (false, 0.89, 0.05, 10.0, 0.2, 0.2),
        (true, 0.9, 0.0, 10.0, 0.2, 0.2),
        (true, 0.6, 0.35, 10.0, 0.2, 0.2),
        (false, 0.99, 0.0, 0.9, 0.2, 0.2),
        (true, 0.1, 0.0, 10.0, 1.21, 0.2),
        (false, 0.1, 0.0, 10.0, 1.19, 0.2),
        (true, 0.1, 0.0, 10.0, 202.1, 200.0),
        (false, 0.1, 0.0, 10.0, 201.9, 200.0),
    ] {
        let mut report = report();
        report.generator.threads = vec![thread(cpu, Some(waiting))];
        report.generator.measured_s = measured_s;
        report.latency = latency(p99, service_p99);
        assert_eq!(is_saturated(&report), saturated, "{cpu} {waiting} {measured_s} {p99} {service_p99}");
    }
}

#[test]
fn each_thread_is_judged_by_what_it_ran_and_waited_together() {
    let mut report = report();
    report.generator.threads = vec![thread(0.6, Some(0.1)), thread(0.3, Some(0.66))];
    assert!(is_saturated(&report), "the second thread had no time left, whatever the first one used");
    assert!(invalid(report, &[])[0].contains("used 30 % of a core and waited for one 66 %"));
}

#[test]
fn the_rarest_percentiles_are_part_of_the_promise() {
    let mut tail = report();
    let (Some(all), Some(service)) = (&mut tail.latency.all, &mut tail.latency.service) else { panic!() };
    (all.p99_9_ms, service.p99_9_ms, all.max_ms, service.max_ms) = (8.0, 2.0, 9.0, 3.0);
    assert!(invalid(tail.clone(), &[])[0].contains("p99.9 is 8.0 ms from the planned and 2.0 ms"));
    let (Some(all), Some(service)) = (&mut tail.latency.all, &mut tail.latency.service) else { panic!() };
    (all.p99_9_ms, service.p99_9_ms) = (2.0, 2.0);
    assert!(invalid(tail.clone(), &["p99>1s"]).is_empty(), "one request is no reason to throw the run away");
    assert!(invalid(tail, &["max>1s"])[0].contains("max cannot be judged"));
}

#[test]
fn dropped_and_late_requests_are_another_load_unless_a_condition_is_about_them() {
    let mut dropping = report();
    dropping.summary.dropped = 101;
    assert!(invalid(dropping.clone(), &["p95>1s"])[0].contains("0.1 % of the planned requests were dropped"));
    assert!(invalid(dropping.clone(), &["dropped>50%"]).is_empty());
    dropping.summary.dropped = 100;
    assert!(invalid(dropping, &[]).is_empty());
    let mut late = report();
    late.summary.distorted = 101;
    assert!(invalid(late.clone(), &["dropped>50%"])[0].contains("so late that it shows"));
    assert!(invalid(late.clone(), &["late>5%"]).is_empty());
    (late.summary.sent, late.summary.distorted) = (500, 9);
    assert!(invalid(late, &[]).is_empty(), "nine requests move no percentile that is not marked");
}

#[test]
fn a_stall_and_an_empty_run_are_told() {
    let mut stalled = report();
    stalled.generator.stalls = Stalls { count: 1, total_s: 3.0, longest_s: 3.0, longest_at_s: 4.5 };
    assert!(invalid(stalled.clone(), &[])[0].contains("stood still for 3.00 s in all, at 4.50 s"));
    stalled.generator.stalls.total_s = 0.09;
    assert!(invalid(stalled, &[]).is_empty());
    let mut empty = report();
    empty.summary.planned = 0;
    assert_eq!(invalid(empty, &[]), ["nothing was sent"]);
}

#[test]
fn without_schedstat_the_report_says_what_it_does_not_know() {
    let mut report = report();
    report.generator.threads = vec![thread(0.1, None)];
    report.judge(&[]);
    assert!(report.verdict.notes.iter().any(|note| note.contains("no schedstat")), "{:?}", report.verdict.notes);
}

#[test]
fn a_run_without_a_success_deviates_unless_failures_are_asked_for() {
    let mut refused = report();
    refused.summary.succeeded = 0;
    refused.judge(&[]);
    assert_eq!(refused.verdict.outcome, Outcome::Deviated);
    assert_eq!(refused.verdict.conditions[0].fail_if, "nothing succeeds");
    refused.judge(&["bad.p99>60s".parse().unwrap()]);
    assert_eq!(refused.verdict.outcome, Outcome::Held);
}
