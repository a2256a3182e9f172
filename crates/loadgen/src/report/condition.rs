//! `--fail-if 'p95>320ms'`: a metric, a comparison and a bound, which make a run a failure when they hold.

use std::str::FromStr;

use super::{ConditionResult, Summary};
use crate::duration;
use crate::error::LoadError;

/// What would be a failure.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// As it was given.
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
    unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Metric {
    P50,
    P90,
    P95,
    P99,
    P999,
    Max,
    Mean,
    Success,
    Rps,
    Goodput,
    Errors,
    Dropped,
    Late,
}

const METRICS: [(&str, Metric); 13] = [
    ("p50", Metric::P50),
    ("p90", Metric::P90),
    ("p95", Metric::P95),
    ("p99", Metric::P99),
    ("p99.9", Metric::P999),
    ("max", Metric::Max),
    ("mean", Metric::Mean),
    ("success", Metric::Success),
    ("rps", Metric::Rps),
    ("goodput", Metric::Goodput),
    ("errors", Metric::Errors),
    ("dropped", Metric::Dropped),
    ("late", Metric::Late),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// Longer signs first: `>=` begins with `>`.
const COMPARISONS: [(&str, Comparison); 4] =
    [(">=", Comparison::AtLeast), ("<=", Comparison::AtMost), (">", Comparison::Above), ("<", Comparison::Below)];

/// In what the bound was given, and the measured value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Percent,
    PerSecond,
    Count,
}

impl FromStr for Condition {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::Condition { text: text.to_owned(), reason };
        let (at, sign, comparison) = COMPARISONS
            .iter()
            .filter_map(|(sign, comparison)| Some((text.find(sign)?, *sign, *comparison)))
            .next()
            .ok_or_else(|| fail("it has none of >, >=, <, <=; for example p95>320ms or success<95%".to_owned()))?;
        let (name, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
        let metric = METRICS.iter().find(|(known, _)| *known == name).map(|(_, metric)| *metric).ok_or_else(|| {
            let known: Vec<&str> = METRICS.iter().map(|(known, _)| *known).collect();
            fail(format!("{name:?} is not measured; there are {}", known.join(", ")))
        })?;
        let (bound, unit) = metric.read_bound(bound).map_err(fail)?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, bound, unit })
    }
}

impl Metric {
    fn read_bound(self, text: &str) -> Result<(f64, Unit), String> {
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{text:?} is not a number from 0 up")),
        };
        match self {
            Self::P50 | Self::P90 | Self::P95 | Self::P99 | Self::P999 | Self::Max | Self::Mean => {
                Ok((duration::parse(text)?.as_secs_f64() * 1_000.0, Unit::Milliseconds))
            }
            Self::Success => match text.strip_suffix('%') {
                Some(percent) => Ok((number(percent)?, Unit::Percent)),
                None => Err(format!("{text:?} needs a %, for example success<95%")),
            },
            Self::Rps | Self::Goodput => Ok((number(text)?, Unit::PerSecond)),
            Self::Errors | Self::Dropped | Self::Late => match text.strip_suffix('%') {
                Some(percent) => Ok((number(percent)?, Unit::Percent)),
                None => Ok((number(text)?, Unit::Count)),
            },
        }
    }

    /// The measured value, in the unit; none when nothing ended.
    fn value(self, summary: &Summary, unit: Unit) -> Option<f64> {
        let count = |count: u64| {
            let share = if unit == Unit::Percent { 100.0 / summary.planned.max(1) as f64 } else { 1.0 };
            Some(count as f64 * share)
        };
        match self {
            Self::P50 => summary.p50_ms,
            Self::P90 => summary.p90_ms,
            Self::P95 => summary.p95_ms,
            Self::P99 => summary.p99_ms,
            Self::P999 => summary.p99_9_ms,
            Self::Max => summary.max_ms,
            Self::Mean => summary.mean_ms,
            Self::Success => Some(summary.success_ratio * 100.0),
            Self::Rps => Some(summary.requests_per_second),
            Self::Goodput => Some(summary.goodput_per_second),
            Self::Errors => count(summary.errors),
            Self::Dropped => count(summary.dropped),
            Self::Late => count(summary.late),
        }
    }
}

impl Condition {
    /// Whether it is met. What could not be measured is a failure: no answer is not a fast answer.
    #[must_use]
    pub fn check(&self, summary: &Summary) -> ConditionResult {
        let value = self.metric.value(summary, self.unit);
        let failed = value.is_none_or(|value| match self.comparison {
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
        });
        let measured = value.map_or_else(|| "nothing was answered".to_owned(), |value| self.unit.show(value));
        ConditionResult { fail_if: self.text.clone(), measured, failed }
    }

    /// Its bound in milliseconds, when it is one for a latency: a line in a plot.
    pub(crate) fn latency_bound(&self) -> Option<f64> {
        (self.unit == Unit::Milliseconds).then_some(self.bound)
    }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds => format!("{}ms", trimmed(value, 3)),
            Self::Percent => format!("{}%", trimmed(value, 3)),
            Self::PerSecond => format!("{}/s", trimmed(value, 2)),
            Self::Count => trimmed(value, 0),
        }
    }
}

/// Without zeros at the end: `320`, `0.5`.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let report: crate::Report = serde_json::from_str(include_str!("../../tests/recorded/open.json")).unwrap();
        Summary { p95_ms: Some(320.0), planned: 200, errors: 10, success_ratio: 0.95, ..report.summary }
    }

    #[test]
    fn compares_in_the_unit_of_the_bound() {
        for (text, failed, measured) in [
            ("p95>320ms", false, "320ms"),
            ("p95>=320ms", true, "320ms"),
            ("p95 > 0.3s", true, "320ms"),
            ("p95<319999us", false, "320ms"),
            ("success<95%", false, "95%"),
            ("success<=95%", true, "95%"),
            ("errors>9", true, "10"),
            ("errors>5%", false, "5%"),
            ("errors>=5%", true, "5%"),
        ] {
            let result = text.parse::<Condition>().unwrap().check(&summary());
            assert_eq!((result.failed, result.measured.as_str(), result.fail_if.as_str()), (failed, measured, text));
        }
    }

    #[test]
    fn no_answer_is_not_a_fast_answer() {
        let nothing = Summary { p95_ms: None, ..summary() };
        assert!("p95>10s".parse::<Condition>().unwrap().check(&nothing).failed);
    }
}
