//! Hypotheses, written before the run: a measure of an arm in a window, and its bound.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::experiment::{Expect, WHOLE};

/// A statement that a run can refute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hypothesis {
    /// The statement in words, for the report.
    pub says: String,
    pub arm: String,
    #[serde(default = "whole")]
    pub window: String,
    pub measure: Measure,
    #[serde(flatten)]
    pub bound: Bound,
    /// The case in which it cannot be judged on some machines or with some drivers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unless: Option<Unless>,
}

/// A case in which a hypothesis is not judged, and counts neither as held nor as deviated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unless {
    /// The machine has fewer cores than the load generator and the replicas need together.
    FewerThanFourCores,
}

/// What is measured. It determines the unit: see [`Measure::unit`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Measure {
    /// The share of requests with a good answer, in %. `kind` of `of`: only requests with this name.
    Success,
    /// Number of requests without a good answer.
    Failures,
    /// Good answers per second.
    Goodput,
    /// Number of instances that answered.
    Instances,
    /// Answers with this status.
    Status(u16),
    /// Number of requests with this name and without a good answer.
    KindFailures(String),
    /// A percentile of the latency, in ms, from the planned send time.
    Latency { of: Answers, percentile: f64 },
    /// The same for requests with this name; their good or their bad answers.
    KindLatency { kind: String, of: Answers, percentile: f64 },
    /// The measure of this arm and window divided by that of another.
    Ratio {
        measure: Box<Measure>,
        to_arm: String,
        #[serde(default = "whole")]
        to_window: String,
    },
    /// The growth of a series of `/metrics`, summed over its label sets and the replicas.
    Metric(String),
    /// The same for the replica in which it grew most.
    MetricOfOneReplica(String),
    /// The highest observed value of a series, of any replica.
    MetricHighest(String),
    /// The time from the effect of the first fault to the first answer of the probe that is not good, in s.
    Detect(String),
    /// The time from the end of the last undo to the probe's first good answer, in s.
    Recover(String),
    /// Number of answers of a probe that are not as expected.
    Unexpected { probe: String, expect: Expect },
    /// The slowest answer of a probe, in ms.
    Slowest { probe: String, part: Part },
    /// The median time of a probe's answers, in ms.
    Median { probe: String, part: Part },
    /// Number of answers of a probe.
    ProbeAnswers(String),
    /// Number of answers of a probe with another record than requested, or with an older version than the probe
    /// received before. Not counted are older ones while Redis is disturbed and in the 4 s after: docs/history.md.
    WrongOrOlder(String),
    /// The longest time for which a probe received an older version than one already acknowledged to a writing probe,
    /// in ms.
    Behind { probe: String, writer: String },
    /// The share of time in which the service was available, in %: seconds in which at least 95 % succeeded.
    Availability,
    /// The price of the topology per month, in $.
    PricePerMonth,
}

/// The answers whose latency is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    Good,
    Bad,
    All,
}

impl Answers {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::All => "all",
        }
    }
}

/// The part of an answer's time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    #[default]
    Whole,
    /// The time that Redis took, by the answer's `Server-Timing`.
    Redis,
}

fn whole() -> String {
    WHOLE.to_owned()
}

/// The range of accepted values, including both bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bound {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_least: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

impl Bound {
    #[must_use]
    pub fn at_least(value: f64) -> Self {
        Self { at_least: Some(value), at_most: None }
    }

    #[must_use]
    pub fn at_most(value: f64) -> Self {
        Self { at_least: None, at_most: Some(value) }
    }

    #[must_use]
    pub fn between(low: f64, high: f64) -> Self {
        Self { at_least: Some(low), at_most: Some(high) }
    }

    /// Whether a value is within the bounds. `allowance` is the share of the bound by which a time may exceed it on a
    /// slow machine.
    #[must_use]
    pub fn holds(&self, value: f64, allowance: f64) -> bool {
        self.at_least.is_none_or(|least| value >= least)
            && self.at_most.is_none_or(|most| value <= most * (1.0 + allowance))
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at_least, self.at_most) {
            (Some(least), Some(most)) if least == most => write!(f, "= {least}"),
            (Some(least), Some(most)) => write!(f, "{least} to {most}"),
            (Some(least), None) => write!(f, "≥ {least}"),
            (None, Some(most)) => write!(f, "≤ {most}"),
            (None, None) => f.write_str("any"),
        }
    }
}

impl Hypothesis {
    #[must_use]
    pub fn new(says: &str, arm: &str, window: &str, measure: Measure, bound: Bound) -> Self {
        Self { says: says.to_owned(), arm: arm.to_owned(), window: window.to_owned(), measure, bound, unless: None }
    }

    /// The bound with its unit.
    #[must_use]
    pub fn limit(&self) -> String {
        let unit = self.measure.unit();
        if unit.is_empty() { self.bound.to_string() } else { format!("{} {unit}", self.bound) }
    }
}

impl Measure {
    /// The latency of good answers.
    #[must_use]
    pub fn good(percentile: f64) -> Self {
        Self::Latency { of: Answers::Good, percentile }
    }

    /// The latency of failures.
    #[must_use]
    pub fn bad(percentile: f64) -> Self {
        Self::Latency { of: Answers::Bad, percentile }
    }

    /// The ratio of this measure to that of another arm's whole time.
    #[must_use]
    pub fn ratio_to(self, arm: &str) -> Self {
        Self::Ratio { measure: Box::new(self), to_arm: arm.to_owned(), to_window: whole() }
    }

    /// The ratio of this measure to that of another window.
    #[must_use]
    pub fn ratio_to_window(self, arm: &str, window: &str) -> Self {
        Self::Ratio { measure: Box::new(self), to_arm: arm.to_owned(), to_window: window.to_owned() }
    }

    /// `ms`, `s`, `%`, `/s`, `$`, or nothing for counts and ratios.
    #[must_use]
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Success | Self::Availability => "%",
            Self::Goodput => "/s",
            Self::Latency { .. }
            | Self::KindLatency { .. }
            | Self::Slowest { .. }
            | Self::Median { .. }
            | Self::Behind { .. } => "ms",
            Self::Detect(_) | Self::Recover(_) => "s",
            Self::PricePerMonth => "$",
            Self::Failures
            | Self::Instances
            | Self::Status(_)
            | Self::KindFailures(_)
            | Self::Ratio { .. }
            | Self::Metric(_)
            | Self::MetricOfOneReplica(_)
            | Self::MetricHighest(_)
            | Self::Unexpected { .. }
            | Self::ProbeAnswers(_)
            | Self::WrongOrOlder(_) => "",
        }
    }

    /// Only times get the allowance for slow machines.
    #[must_use]
    pub fn is_time(&self) -> bool {
        matches!(self.unit(), "ms" | "s")
    }

    /// A short form for tables.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Success => "success".to_owned(),
            Self::Failures => "failures".to_owned(),
            Self::Goodput => "goodput".to_owned(),
            Self::Instances => "instances".to_owned(),
            Self::Status(status) => format!("answers {status}"),
            Self::KindFailures(kind) => format!("failures of {kind}"),
            Self::Latency { of, percentile } => format!("{}.p{percentile}", of.word()),
            Self::KindLatency { kind, of, percentile } => format!("{kind}.{}.p{percentile}", of.word()),
            Self::Ratio { measure, to_arm, to_window } if to_window == WHOLE => {
                format!("{} against {to_arm}", measure.name())
            }
            Self::Ratio { measure, to_arm, to_window } => {
                format!("{} against {to_arm}, {to_window}", measure.name())
            }
            Self::Metric(series) => format!("growth of {series}"),
            Self::MetricOfOneReplica(series) => format!("growth of {series} in one replica"),
            Self::MetricHighest(series) => format!("highest {series}"),
            Self::Detect(probe) => format!("time to detect ({probe})"),
            Self::Recover(probe) => format!("time to recover ({probe})"),
            Self::Unexpected { probe, .. } => format!("unexpected answers ({probe})"),
            Self::Slowest { probe, part: Part::Whole } => format!("slowest answer ({probe})"),
            Self::Slowest { probe, part: Part::Redis } => format!("most that Redis cost ({probe})"),
            Self::Median { probe, part: Part::Whole } => format!("median answer ({probe})"),
            Self::Median { probe, part: Part::Redis } => format!("median that Redis cost ({probe})"),
            Self::ProbeAnswers(probe) => format!("answers ({probe})"),
            Self::WrongOrOlder(probe) => format!("wrong or older answers ({probe})"),
            Self::Behind { probe, .. } => format!("how old answers were ({probe})"),
            Self::Availability => "availability".to_owned(),
            Self::PricePerMonth => "price per month".to_owned(),
        }
    }
}
