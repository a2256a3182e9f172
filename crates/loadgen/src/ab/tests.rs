//! Paired comparisons of constructed rounds.

use super::*;
use crate::report::Report;

fn summary(rate: f64, latency: f64) -> Summary {
    let report: Report = serde_json::from_str(include_str!("../../tests/recorded/closed.json")).unwrap();
    Summary {
        requests_per_second: rate,
        mean_ms: Some(latency),
        p50_ms: Some(latency * 0.9),
        p95_ms: Some(latency * 2.0),
        p99_ms: Some(latency * 3.0),
        planned: 10_000,
        succeeded: 10_000,
        in_flight_at_end: 0,
        ..report.summary
    }
}

/// A machine with drift, slow and fast minutes, and an occasional hiccup.
struct Machine {
    chance: fastrand::Rng,
    drift: f64,
}

impl Machine {
    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.chance.f64()).sum::<f64>() - 6.0
    }

    /// A run on a side that is slower by this factor.
    fn run(&mut self, slower: f64) -> Summary {
        self.drift = 0.8 * self.drift + 0.03 * self.normal();
        let hiccup = if self.chance.u8(0..20) == 0 { 0.3 } else { 0.0 };
        let time = (self.drift + hiccup + 0.02 * self.normal()).exp() * slower;
        let mut run = summary(10_000.0 / time, time);
        for value in [&mut run.p50_ms, &mut run.p95_ms, &mut run.p99_ms] {
            *value = value.map(|value| value * (0.03 * self.normal()).exp());
        }
        run
    }

    /// ABBA.
    fn rounds(&mut self, count: usize, slower: f64) -> Vec<Round> {
        let mut rounds = Vec::new();
        for round in 0..count {
            let (a, b) = if round % 2 == 0 {
                let a = self.run(1.0);
                (a, self.run(slower))
            } else {
                let b = self.run(slower);
                (self.run(1.0), b)
            };
            rounds.push(Round { a, b, invalid: Vec::new() });
        }
        rounds
    }
}

fn machine(seed: u64) -> Machine {
    Machine { chance: fastrand::Rng::with_seed(seed), drift: 0.0 }
}

/// The number of comparisons that reported a difference.
fn alarms(comparisons: u64, slower: f64) -> u64 {
    let is_alarm = |seed: &u64| Analysis::new(&machine(*seed).rounds(10, slower), Mode::Closed).is_alarm();
    (1..=comparisons).filter(is_alarm).count() as u64
}

/// One in twenty is accepted; for 1,000 comparisons this is three standard deviations above 50.
#[test]
fn equal_sides_are_told_apart_in_at_most_one_of_twenty_comparisons() {
    let false_alarms = alarms(1_000, 1.0);
    assert!(false_alarms <= 70, "{false_alarms} of 1000");
    let found = alarms(200, 1.25);
    assert!(found >= 180, "25 % slower, found in {found} of 200");
}

#[test]
fn a_drift_that_would_fool_blocks_does_not_fool_pairs() {
    // Each run is 3 % slower than the one before it, on both sides.
    let mut time = 1.0;
    let mut run = || {
        time *= 1.03;
        summary(10_000.0 / time, time)
    };
    let rounds: Vec<Round> = (0..10)
        .map(|round| {
            let (first, second) = (run(), run());
            let (a, b) = if round % 2 == 0 { (first, second) } else { (second, first) };
            Round { a, b, invalid: Vec::new() }
        })
        .collect();
    assert_eq!(Analysis::new(&rounds, Mode::Closed).speed(), Finding::Same);
}

fn record(rounds: Vec<Round>, control: Vec<Round>) -> Record {
    let report: Report = serde_json::from_str(include_str!("../../tests/recorded/closed.json")).unwrap();
    let side = |name: &str| Side { name: name.to_owned(), plan: report.plan.clone() };
    Record {
        schema: SCHEMA.to_owned(),
        version: "0".to_owned(),
        command: String::new(),
        machine: report.machine.clone(),
        a: side("a"),
        b: side("b"),
        rounds,
        control,
    }
}

#[test]
fn a_gate_that_judged_nothing_does_not_pass() {
    let mut machine = machine(3);
    let (same, slower, few) = (machine.rounds(10, 1.0), machine.rounds(10, 1.3), machine.rounds(3, 1.3));
    let code =
        |rounds: &[Round], control: &[Round]| record(rounds.to_vec(), control.to_vec()).verdict().exit_code(true);
    assert_eq!(code(&same, &same), 0);
    assert_eq!(code(&slower, &same), 1);
    assert_eq!(code(&few, &few), 2, "three rounds show nothing");
    assert_eq!(code(&slower, &slower), 2, "A differs from itself");
    let mut broken = same.clone();
    broken[4].invalid.push("generator saturated".to_owned());
    assert_eq!(code(&broken, &[]), 2);
    let text = record(broken, Vec::new()).to_text();
    assert!(text.contains("1 of 10 A/B rounds are invalid, first: generator saturated"), "{text}");
}

#[test]
fn failures_count_whatever_the_speed() {
    let mut rounds = machine(5).rounds(10, 1.0);
    rounds[7].b.succeeded -= 1;
    let record = record(rounds, machine(6).rounds(10, 1.0));
    assert_eq!(record.verdict().exit_code(true), 1, "{}", record.to_text());
}
