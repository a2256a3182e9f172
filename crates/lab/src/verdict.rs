//! The verdicts on the hypotheses of a run: a pure function of the journal, so that a later lab can judge an old
//! journal again.

mod alone;
mod measure;

pub(crate) use self::measure::observe;

use serde::{Deserialize, Serialize};

use crate::{
    hypothesis::{Hypothesis, Measure, Unless},
    journal::{Ending, Run},
};

/// Worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Not judged on this machine, as declared before the run.
    Skipped,
    Held,
    /// It cannot be judged.
    Invalid,
    Deviated,
}

impl Outcome {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Skipped => "skipped",
            Self::Held => "held",
            Self::Invalid => "invalid",
            Self::Deviated => "deviated",
        }
    }
}

/// An observed number and its uncertainty.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    pub value: f64,
    /// The 95 % confidence interval, if there is one.
    pub interval: Option<(f64, f64)>,
    /// The total number of cases; 0 if there is none.
    pub n: u64,
    /// The observation in words, if a number alone is not enough: `0 of 12,400 failed`.
    pub text: String,
}

/// A hypothesis and its result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Its index in the experiment.
    pub hypothesis: usize,
    pub says: String,
    pub arm: String,
    pub window: String,
    /// `good.p95`.
    pub measure: String,
    /// `≤ 320 ms`.
    pub limit: String,
    pub unit: String,
    pub outcome: Outcome,
    /// The value of the worst run.
    pub observed: Option<Observed>,
    /// The values of all runs, in order; `None` if one could not be determined.
    pub runs: Vec<Option<f64>>,
    /// Why it did not hold.
    pub why: String,
}

/// The verdict on a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    pub judged: Vec<Judged>,
    /// Why the run as a whole cannot be judged, or not to its end.
    pub invalid: Vec<String>,
    pub interrupted: bool,
}

impl Verdict {
    /// 0 held, 1 deviated, 2 invalid, 130 interrupted.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self.outcome {
            _ if self.interrupted => 130,
            Outcome::Skipped | Outcome::Held => 0,
            Outcome::Deviated => 1,
            Outcome::Invalid => 2,
        }
    }
}

/// Judges every hypothesis by every run of its arm.
#[must_use]
pub fn judge(run: &Run<'_>) -> Verdict {
    let mut invalid = Vec::new();
    match run.ending {
        None => invalid.push("the journal has no end: the run was cut short, or is still going on".to_owned()),
        Some(Ending::Interrupted) => invalid.push("the run was interrupted".to_owned()),
        Some(Ending::Failed(why)) => invalid.push(why.clone()),
        Some(Ending::Complete) => {}
    }
    for arm in &run.arms {
        let repeat = if run.begin.repeats > 1 { format!(", run {}", arm.repeat) } else { String::new() };
        invalid.extend(
            alone::faults(arm, run.begin.allowance).into_iter().map(|why| format!("{}{repeat}: {why}", arm.arm.name)),
        );
    }
    let hypotheses = &run.begin.experiment.hypotheses;
    let judged: Vec<Judged> = hypotheses.iter().enumerate().map(|(place, one)| judge_one(run, place, one)).collect();
    if hypotheses.is_empty() {
        invalid.push("there is no hypothesis to judge".to_owned());
    }
    let worst = judged.iter().map(|judged| judged.outcome).max().unwrap_or(Outcome::Invalid);
    // A deviation remains one, even if other runs could not be judged.
    let outcome = if invalid.is_empty() { worst } else { worst.max(Outcome::Invalid) };
    Verdict { outcome, judged, invalid, interrupted: matches!(run.ending, Some(Ending::Interrupted)) }
}

fn judge_one(run: &Run<'_>, place: usize, hypothesis: &Hypothesis) -> Judged {
    let mut judged = Judged {
        hypothesis: place,
        says: hypothesis.says.clone(),
        arm: hypothesis.arm.clone(),
        window: hypothesis.window.clone(),
        measure: hypothesis.measure.name(),
        limit: hypothesis.limit(),
        unit: hypothesis.measure.unit().to_owned(),
        outcome: Outcome::Held,
        observed: None,
        runs: Vec::new(),
        why: String::new(),
    };
    if let Some(why) = skipped(run, hypothesis) {
        return Judged { outcome: Outcome::Skipped, why, ..judged };
    }
    let allowance = if hypothesis.measure.is_time() { run.begin.allowance } else { 0.0 };
    for arm in run.of_arm(&hypothesis.arm) {
        let observed = match alone::faults(arm, run.begin.allowance).first() {
            Some(why) => Err(why.clone()),
            None => observe(run, arm, &hypothesis.window, &hypothesis.measure),
        };
        judged.runs.push(observed.as_ref().ok().map(|observed| observed.value));
        let (outcome, why) = match &observed {
            Err(why) => (Outcome::Invalid, why.clone()),
            Ok(observed) if hypothesis.bound.holds(observed.value, allowance) => (Outcome::Held, String::new()),
            Ok(observed) => {
                let text = if observed.text.is_empty() { number(observed.value) } else { observed.text.clone() };
                (Outcome::Deviated, format!("{text}; the limit is {}", hypothesis.limit()))
            }
        };
        if judged.observed.is_none() || outcome > judged.outcome {
            judged.observed = observed.ok().or(judged.observed);
        }
        if outcome > judged.outcome {
            (judged.outcome, judged.why) = (outcome, why);
        }
    }
    if let (Measure::Ratio { .. }, Some(observed)) = (&hypothesis.measure, &mut judged.observed) {
        over_pairs(observed, &judged.runs);
    }
    if judged.runs.is_empty() {
        judged.outcome = Outcome::Invalid;
        judged.why = format!("the arm {} did not run", hypothesis.arm);
    }
    judged
}

/// Fewer pairs cannot give an interval of 95 %.
const FEWEST_PAIRS: usize = 6;

/// The arms of a ratio run in pairs, one pair for each repetition: the middle of their ratios and where it lies with 95 %
/// certainty. Every pair is judged by itself all the same.
fn over_pairs(observed: &mut Observed, runs: &[Option<f64>]) {
    let logarithms: Vec<f64> = runs.iter().flatten().filter(|ratio| **ratio > 0.0).map(|ratio| ratio.ln()).collect();
    // Ratios lie apart by factors, not by differences.
    let Some((middle, low, high)) = loadgen::stats::shift_with_interval(&logarithms) else { return };
    let pairs = logarithms.len();
    if pairs < 2 {
        return;
    }
    observed.text += &format!("; the middle over {pairs} pairs is {}", number(middle.exp()));
    if pairs >= FEWEST_PAIRS {
        observed.interval = Some((low.exp(), high.exp()));
    } else {
        observed.text += &format!(", and an interval takes {FEWEST_PAIRS}");
    }
}

/// Why it is not judged here, if it is not.
fn skipped(run: &Run<'_>, hypothesis: &Hypothesis) -> Option<String> {
    match hypothesis.unless? {
        Unless::FewerThanFourCores => {
            let cores = run.begin.machine.cores;
            (cores < 4).then(|| format!("this machine has {cores} cores; it takes four to tell"))
        }
    }
}

/// A value with three significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if value == value.round() || magnitude >= 100.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else if magnitude >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    }
}

/// Whether a measure uses the data of the load generator.
fn is_of_the_load(measure: &Measure) -> bool {
    match measure {
        Measure::Success
        | Measure::Failures
        | Measure::Goodput
        | Measure::Instances
        | Measure::Status(_)
        | Measure::KindFailures(_)
        | Measure::Latency { .. }
        | Measure::KindLatency { .. }
        | Measure::Availability => true,
        Measure::Ratio { measure, .. } => is_of_the_load(measure),
        Measure::Metric(_)
        | Measure::MetricOfOneReplica(_)
        | Measure::MetricHighest(_)
        | Measure::Detect(_)
        | Measure::Recover(_)
        | Measure::Unexpected { .. }
        | Measure::Slowest { .. }
        | Measure::Median { .. }
        | Measure::ProbeAnswers(_)
        | Measure::WrongOrOlder(_)
        | Measure::Behind { .. }
        | Measure::PricePerMonth => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_an_interval_from_six_pairs_on() {
        let after = |ratios: &[f64]| {
            let mut observed = Observed { value: ratios[0], text: "seen".to_owned(), ..Observed::default() };
            over_pairs(&mut observed, &ratios.iter().copied().map(Some).collect::<Vec<_>>());
            observed
        };
        assert_eq!(after(&[2.0]).text, "seen");
        let few = after(&[2.0, 2.0, 8.0]);
        assert_eq!(
            (few.text.as_str(), few.interval),
            ("seen; the middle over 3 pairs is 2.83, and an interval takes 6", None)
        );
        let six = after(&[2.0, 4.0, 4.0, 4.0, 4.0, 8.0]);
        assert!(six.text.starts_with("seen; the middle over 6 pairs is 4"), "{}", six.text);
        let (low, high) = six.interval.unwrap();
        assert!((low - 2.0).abs() < 1e-9 && (high - 8.0).abs() < 1e-9, "{low} {high}");
        // What could not be told is no pair.
        let mut observed = Observed::default();
        over_pairs(&mut observed, &[None, Some(2.0), None]);
        assert_eq!(observed, Observed::default());
    }
}
