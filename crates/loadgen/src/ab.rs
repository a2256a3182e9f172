//! Two sides measured alternately, A B, B A, A B, …, so that drift of the machine affects both equally. Each round is a
//! pair, and only differences within pairs count.
//!
//! - [`text`]: the table

mod text;

use serde::{Deserialize, Serialize};

use crate::compare::failures::Failures;
use crate::compare::finding::{Finding, holm};
use crate::compare::{LATENCY, Metric, RATE};
use crate::machine::Machine;
use crate::report::{Mode, PlanRecord, Summary};
use crate::stats::{Spread, least_signed_rank_p, shift_with_interval, signed_rank_p};

/// The version of the format.
pub const SCHEMA: &str = "load-ab/1";
/// A smaller difference is not reported, however regular.
const MIN_EFFECT: f64 = 0.01;

/// All measurements, and the findings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    pub schema: String,
    pub version: String,
    pub command: String,
    pub machine: Machine,
    pub a: Side,
    pub b: Side,
    /// A against B.
    pub rounds: Vec<Round>,
    /// A against A, the same number of rounds; empty if not requested.
    pub control: Vec<Round>,
}

/// One side, as given and as planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Side {
    pub name: String,
    pub plan: PlanRecord,
}

/// Two runs, one directly after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Round {
    pub a: Summary,
    pub b: Summary,
    /// Why one of them is invalid.
    pub invalid: Vec<String>,
}

/// One metric of both sides.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub a: Spread,
    pub b: Spread,
    /// The ratio of B to A within a pair: the median and its confidence interval.
    pub ratio: f64,
    pub interval: (f64, f64),
    pub p: f64,
    pub finding: Finding,
}

/// The findings of some rounds.
#[derive(Clone, Debug)]
pub struct Analysis {
    pub rows: Vec<Row>,
    pub failures: Failures,
}

impl Analysis {
    /// The plan sets the rate of an open loop, so the rate is judged only in a closed one.
    #[must_use]
    pub fn new(rounds: &[Round], mode: Mode) -> Self {
        let rate = (mode == Mode::Closed).then_some(RATE);
        let metrics: Vec<Metric> = rate.into_iter().chain(LATENCY).collect();
        let mut rows: Vec<(Row, Metric)> =
            metrics.iter().filter_map(|metric| Some((row(*metric, rounds)?, *metric))).collect();
        let ps: Vec<f64> = rows.iter().map(|(row, _)| row.p).collect();
        for ((row, metric), significant) in rows.iter_mut().zip(holm(&ps, least_signed_rank_p(rounds.len()))) {
            let few = rounds.iter().any(|round| round.a.succeeded.min(round.b.succeeded) < metric.samples);
            row.finding = match significant {
                None => Finding::Unjudged,
                Some(_) if few => Finding::Unjudged,
                Some(true) if (row.ratio - 1.0).abs() >= MIN_EFFECT => {
                    Finding::of(row.ratio > 1.0, metric.more_is_better)
                }
                Some(_) => Finding::Same,
            };
        }
        let side = |of: fn(&Round) -> &Summary| rounds.iter().map(|round| of(round).clone()).collect::<Vec<_>>();
        let failures = Failures::new(&side(|round| &round.a), &side(|round| &round.b));
        Self { rows: rows.into_iter().map(|(row, _)| row).collect(), failures }
    }

    /// The findings for rates and latencies as a whole.
    #[must_use]
    pub fn speed(&self) -> Finding {
        Finding::overall(self.rows.iter().map(|row| row.finding))
    }

    fn is_alarm(&self) -> bool {
        let is_called = |finding| finding != Finding::Same && finding != Finding::Unjudged;
        is_called(self.speed()) || is_called(self.failures.finding)
    }
}

fn row(metric: Metric, rounds: &[Round]) -> Option<Row> {
    let pairs: Vec<(f64, f64)> = rounds
        .iter()
        .filter_map(|round| Some(((metric.value)(&round.a)?, (metric.value)(&round.b)?)))
        .filter(|(a, b)| *a > 0.0 && *b > 0.0)
        .collect();
    // A round in which one side has no value is not a pair. With fewer pairs than rounds there is no finding.
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (b / a).ln()).collect();
    let (middle, low, high) = shift_with_interval(&logs)?;
    let p = if pairs.len() == rounds.len() { signed_rank_p(&logs) } else { 1.0 };
    Some(Row {
        name: metric.name,
        a: Spread::of(&pairs.iter().map(|(a, _)| *a).collect::<Vec<_>>())?,
        b: Spread::of(&pairs.iter().map(|(_, b)| *b).collect::<Vec<_>>())?,
        ratio: middle.exp(),
        interval: (low.exp(), high.exp()),
        p,
        finding: Finding::Unjudged,
    })
}

/// The overall result, with the reasons if there is none.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub analysis: Analysis,
    pub control: Option<Analysis>,
    /// Why there is no finding; empty otherwise.
    pub invalid: Vec<String>,
}

impl Record {
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let analysis = Analysis::new(&self.rounds, self.a.plan.mode);
        let control = (!self.control.is_empty()).then(|| Analysis::new(&self.control, self.a.plan.mode));
        let mut invalid = Vec::new();
        if self.a.plan.mode != self.b.plan.mode {
            invalid.push("one side is an open loop and the other a closed one".to_owned());
        }
        for (name, rounds) in [("A/B", &self.rounds), ("A/A", &self.control)] {
            let bad: Vec<&Round> = rounds.iter().filter(|round| !round.invalid.is_empty()).collect();
            if let Some(first) = bad.first() {
                let why = first.invalid.join("; ");
                invalid.push(format!("{} of {} {name} rounds are invalid, first: {why}", bad.len(), rounds.len()));
            }
        }
        if control.as_ref().is_some_and(Analysis::is_alarm) {
            invalid.push(
                "A against itself differs, too: this machine is not quiet enough for runs of this length; make them longer, \
                 or the rounds more"
                    .to_owned(),
            );
        }
        Verdict { analysis, control, invalid }
    }

    /// The tables and the findings, as plain text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::render(self, &self.verdict())
    }

    /// The stored form.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "plain structs with string keys always serialise")]
        let mut text = serde_json::to_string(self).expect("a record is plain data");
        text.push('\n');
        text
    }
}

impl Verdict {
    /// 2 if there is no finding; with the gate, 1 if B is worse, and 2 if a part could not be judged.
    #[must_use]
    pub fn exit_code(&self, fail_if_worse: bool) -> u8 {
        let findings = [self.analysis.speed(), self.analysis.failures.finding];
        if !self.invalid.is_empty() {
            return 2;
        }
        match fail_if_worse {
            true if findings.iter().any(|finding| finding.is_worse()) => 1,
            true if findings.contains(&Finding::Unjudged) => 2,
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests;
