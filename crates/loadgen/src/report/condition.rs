//! `--fail-if 'good.p95>320ms'`: a metric, a comparison and a bound. A run fails if the condition is true.

use std::str::FromStr;
use std::time::Duration;

use super::ConditionResult;
use crate::duration;
use crate::error::LoadError;
use crate::latencies::{Latencies, Quantile};
use crate::tally::Tally;

/// A condition under which the run fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The text as given.
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
    unit: Unit,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Metric {
    Latency(Group, Stat),
    Success(Group),
    Rps,
    Goodput,
    Errors,
    Dropped,
    Late,
}

/// The requests whose latencies are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Group {
    /// Successful answers; the default for a latency without a prefix.
    Good,
    /// Refused and unanswered requests.
    Bad,
    All,
    /// Successful answers to one kind of request.
    Kind(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stat {
    At(Quantile),
    Max,
    Mean,
}

/// The names of the metrics other than latencies.
const COUNTS: [(&str, Metric); 5] = [
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

/// Longer operators first, because `>=` begins with `>`.
const COMPARISONS: [(&str, Comparison); 4] =
    [(">=", Comparison::AtLeast), ("<=", Comparison::AtMost), (">", Comparison::Above), ("<", Comparison::Below)];

/// The unit of the bound, in which the measured value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Milliseconds,
    Percent,
    PerSecond,
    Count,
}

/// The values that conditions are checked against.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) total: &'a Tally,
    pub(crate) kinds: &'a [String],
    pub(crate) seconds: f64,
}

impl FromStr for Condition {
    type Err = LoadError;

    fn from_str(text: &str) -> Result<Self, LoadError> {
        let fail = |reason: String| LoadError::Condition { text: text.to_owned(), reason };
        let (at, sign, comparison) = COMPARISONS
            .iter()
            .find_map(|(sign, comparison)| Some((text.rfind(sign)?, *sign, *comparison)))
            .ok_or_else(|| fail("it has none of >, >=, <, <=; for example p95>320ms or success<95%".to_owned()))?;
        let (name, bound) = (text[..at].trim(), text[at + sign.len()..].trim());
        let metric = Metric::parse(name).ok_or_else(|| fail(unknown(name)))?;
        let (bound, unit) = metric.read_bound(bound).map_err(fail)?;
        Ok(Self { text: text.trim().to_owned(), metric, comparison, bound, unit })
    }
}

fn unknown(name: &str) -> String {
    format!(
        "{name:?} is not measured; there are mean, max and percentiles such as p95 or p99.9, of good answers or as \
         bad.p95, all.p95, kind.NAME.p95; success, kind.NAME.success, errors, dropped, late, rps, goodput"
    )
}

impl Metric {
    fn parse(name: &str) -> Option<Self> {
        if let Some((_, metric)) = COUNTS.iter().find(|(known, _)| *known == name) {
            return Some(metric.clone());
        }
        if name == "success" {
            return Some(Self::Success(Group::All));
        }
        if let Some(rest) = name.strip_prefix("kind.") {
            // From the left, because `p99.9` contains a dot. A name may contain one too, so the first match counts.
            return rest.match_indices('.').find_map(|(at, _)| {
                let (kind, word) = (Group::Kind(rest[..at].to_owned()), &rest[at + 1..]);
                match word {
                    "success" => Some(Self::Success(kind)),
                    _ => Stat::parse(word).map(|stat| Self::Latency(kind, stat)),
                }
            });
        }
        let prefixes = [("good.", Group::Good), ("bad.", Group::Bad), ("all.", Group::All)];
        let prefixed = prefixes.into_iter().find_map(|(prefix, group)| Some((group, name.strip_prefix(prefix)?)));
        let (group, word) = prefixed.unwrap_or((Group::Good, name));
        Stat::parse(word).map(|stat| Self::Latency(group, stat))
    }

    fn read_bound(&self, text: &str) -> Result<(f64, Unit), String> {
        let number = |text: &str| match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{text:?} is not a number from 0 up")),
        };
        match self {
            Self::Latency(..) => Ok((duration::parse(text)?.as_secs_f64() * 1_000.0, Unit::Milliseconds)),
            Self::Success(_) => match text.strip_suffix('%') {
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

    /// The measured value in the unit, and remarks about it; `None` if there is nothing to measure.
    fn value(&self, measured: &Measured<'_>, unit: Unit) -> Option<(f64, String)> {
        let Measured { total, kinds, seconds } = measured;
        let plain = |value: f64| Some((value, String::new()));
        let count = |count: u64| match unit {
            Unit::Percent if total.planned() == 0 => None,
            Unit::Percent => plain(count as f64 * 100.0 / total.planned() as f64),
            Unit::Milliseconds | Unit::PerSecond | Unit::Count => plain(count as f64),
        };
        let kind = |name: &String| total.kinds.get(kinds.iter().position(|kind| kind == name)?);
        let percent = |part: u64, whole: u64| (whole > 0).then(|| (part as f64 * 100.0 / whole as f64, String::new()));
        match self {
            Self::Latency(group, stat) => match group {
                Group::Good => stat.of(&total.good()),
                Group::Bad => stat.of(&total.bad()),
                Group::All => {
                    let mut all = total.good();
                    all.add(&total.bad());
                    stat.of(&all)
                }
                Group::Kind(name) => stat.of(&kind(name)?.good),
            },
            Self::Success(Group::Kind(name)) => {
                let kind = kind(name)?;
                percent(kind.good.count(), kind.good.count() + kind.bad.count())
            }
            Self::Success(Group::Good | Group::Bad | Group::All) => {
                percent(total.succeeded(), total.planned() - total.in_flight())
            }
            Self::Rps => plain(total.answered() as f64 / seconds.max(1e-9)),
            Self::Goodput => plain(total.succeeded() as f64 / seconds.max(1e-9)),
            Self::Errors => count(total.answered() - total.succeeded() + total.unanswered()),
            Self::Dropped => count(total.dropped),
            Self::Late => count(total.late),
        }
    }

    /// The description of the measured requests.
    fn nothing(&self) -> String {
        match self {
            Self::Latency(Group::Good, _) => "nothing succeeded".to_owned(),
            Self::Latency(Group::Kind(kind), _) => format!("no {kind} succeeded"),
            Self::Latency(Group::Bad, _) => "nothing failed".to_owned(),
            Self::Latency(Group::All, _) => "nothing ended".to_owned(),
            Self::Success(_) | Self::Rps | Self::Goodput | Self::Errors | Self::Dropped | Self::Late => {
                "nothing was sent".to_owned()
            }
        }
    }
}

impl Stat {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "max" => Some(Self::Max),
            "mean" => Some(Self::Mean),
            _ => Quantile::parse(word.strip_prefix('p')?).map(Self::At),
        }
    }

    fn of(self, latencies: &Latencies) -> Option<(f64, String)> {
        let (value, needed) = match self {
            Self::At(quantile) => (latencies.at(quantile)?, quantile.samples_needed()),
            Self::Max => (latencies.max()?, 0),
            Self::Mean => (latencies.mean()?, 0),
        };
        let few = latencies.count() < needed;
        let remark =
            if few { format!(" (of {} samples; {needed} are needed)", latencies.count()) } else { String::new() };
        Some((millis(value), remark))
    }
}

fn millis(duration: Duration) -> f64 {
    super::build::millis(duration)
}

impl Condition {
    /// Whether the condition is true. A value that could not be measured is a failure, because a missing answer is not
    /// a fast answer. Only `bad` latencies may be missing, if no request failed.
    pub(crate) fn check(&self, measured: &Measured<'_>) -> ConditionResult {
        let value = self.metric.value(measured, self.unit);
        let failed = match &value {
            Some((value, _)) => self.holds(*value),
            None => !matches!(self.metric, Metric::Latency(Group::Bad, _)),
        };
        let shown = value.map_or_else(|| self.metric.nothing(), |(value, remark)| self.unit.show(value) + &remark);
        ConditionResult { fail_if: self.text.clone(), measured: shown, failed, run: None }
    }

    /// Whether the condition is already true while the run goes on, with enough samples and not only because no answer
    /// has arrived.
    pub(crate) fn is_broken(&self, measured: &Measured<'_>) -> bool {
        self.metric.value(measured, self.unit).is_some_and(|(value, remark)| remark.is_empty() && self.holds(value))
    }

    /// How bad the measured value is, to find the worst of several runs: higher is worse.
    pub(crate) fn badness(&self, measured: &Measured<'_>) -> f64 {
        let value = self.metric.value(measured, self.unit).map(|(value, _)| value);
        match self.comparison {
            Comparison::Above | Comparison::AtLeast => value.unwrap_or(f64::INFINITY),
            Comparison::Below | Comparison::AtMost => value.map_or(f64::INFINITY, |value| -value),
        }
    }

    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Above => value > self.bound,
            Comparison::AtLeast => value >= self.bound,
            Comparison::Below => value < self.bound,
            Comparison::AtMost => value <= self.bound,
        }
    }

    /// # Errors
    /// The condition concerns a kind of request that is not in the plan.
    pub(crate) fn check_kind(&self, kinds: &[String]) -> Result<(), LoadError> {
        match &self.metric {
            Metric::Latency(Group::Kind(name), _) | Metric::Success(Group::Kind(name)) if !kinds.contains(name) => {
                let reason = format!("there is no kind {name:?}; there are {}", kinds.join(", "));
                Err(LoadError::Condition { text: self.text.clone(), reason })
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn is_about_drops(&self) -> bool {
        self.metric == Metric::Dropped
    }

    pub(crate) fn is_about_lateness(&self) -> bool {
        self.metric == Metric::Late
    }

    /// Whether the condition concerns failed requests, so that a run in which all requests fail may be intended.
    pub(crate) fn is_about_failures(&self) -> bool {
        matches!(self.metric, Metric::Success(_) | Metric::Errors | Metric::Latency(Group::Bad, _))
    }

    /// The extreme that it concerns, which depends on single requests: `p99.9` and above, or the maximum.
    pub(crate) fn extreme(&self) -> Option<&'static str> {
        match self.metric {
            Metric::Latency(_, Stat::Max) => Some("max"),
            Metric::Latency(_, Stat::At(quantile)) if quantile >= Quantile::P99_9 => Some("p99.9"),
            _ => None,
        }
    }

    /// Its bound in milliseconds if it is one for a latency, to draw a line in a plot.
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

/// Without trailing zeros: `320`, `0.5`.
fn trimmed(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests;
