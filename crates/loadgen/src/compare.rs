//! Two recorded runs side by side: how much more or less, and whether that is more than chance.
//!
//! Each side is a row of repeated runs (`--repeat`). A difference is called one when runs that differ in nothing would
//! bring it about in less than one of twenty comparisons *and* it is large enough to matter. Throughput and latency are
//! judged apart: a change may well buy one with the other.
//!
//! - [`significance`]: how likely chance would do the same
//! - [`text`]: the table

mod significance;
mod text;

use crate::report::{Mode, PlanRecord, Report, Summary};

/// The accepted chance of calling a difference where there is none.
const ALPHA: f64 = 0.05;
/// Below this a difference is not called one, however regular: the same program in two rows of runs, minutes apart on
/// the same machine, differs by that much.
const MIN_EFFECT: f64 = 0.02;

/// What a metric's numbers say about the new side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Better,
    Worse,
    /// Some metrics of the group are better and some are worse.
    Mixed,
    Same,
    /// Too few runs on one side or the other.
    Unjudged,
}

/// One metric on both sides.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub base: Spread,
    pub new: Spread,
    /// New by base, of the medians.
    pub ratio: f64,
    /// The chance of such a difference, or a greater one, between equal sides.
    pub p: f64,
    pub finding: Finding,
}

/// The middle and the ends of one side's runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub throughput: Vec<Row>,
    pub latency: Vec<Row>,
    pub runs: (usize, usize),
    /// What makes the sides incomparable, or hard to compare.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy)]
struct Metric {
    name: &'static str,
    value: fn(&Summary) -> Option<f64>,
    more_is_better: bool,
}

const THROUGHPUT: [Metric; 3] = [
    Metric { name: "Requests per second", value: |s| Some(s.requests_per_second), more_is_better: true },
    Metric { name: "Goodput per second", value: |s| Some(s.goodput_per_second), more_is_better: true },
    Metric { name: "Success [%]", value: |s| Some(s.success_ratio * 100.0), more_is_better: true },
];
const LATENCY: [Metric; 4] = [
    Metric { name: "Mean [ms]", value: |s| s.mean_ms, more_is_better: false },
    Metric { name: "p50 [ms]", value: |s| s.p50_ms, more_is_better: false },
    Metric { name: "p95 [ms]", value: |s| s.p95_ms, more_is_better: false },
    Metric { name: "p99 [ms]", value: |s| s.p99_ms, more_is_better: false },
];

impl Comparison {
    #[must_use]
    pub fn new(base: &Report, new: &Report) -> Self {
        let (base_runs, new_runs) = (runs(base), runs(new));
        let group = |metrics: &[Metric]| judge(metrics, &base_runs, &new_runs);
        Self {
            throughput: group(&THROUGHPUT),
            latency: group(&LATENCY),
            runs: (base_runs.len(), new_runs.len()),
            warnings: warnings(base, new),
        }
    }

    /// The finding for a group of rows as a whole.
    #[must_use]
    pub fn overall(rows: &[Row]) -> Finding {
        let any = |finding| rows.iter().any(|row| row.finding == finding);
        match (any(Finding::Better), any(Finding::Worse)) {
            (true, true) => Finding::Mixed,
            (true, false) => Finding::Better,
            (false, true) => Finding::Worse,
            (false, false) if any(Finding::Unjudged) || rows.is_empty() => Finding::Unjudged,
            (false, false) => Finding::Same,
        }
    }

    /// The table and both findings, as plain text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::render(self)
    }
}

fn runs(report: &Report) -> Vec<Summary> {
    if report.repeats.is_empty() { vec![report.summary.clone()] } else { report.repeats.clone() }
}

/// Judges a group of metrics together: the more of them are looked at, the more likely chance moves one (Holm's method).
fn judge(metrics: &[Metric], base: &[Summary], new: &[Summary]) -> Vec<Row> {
    let mut rows: Vec<(Row, bool)> = metrics.iter().filter_map(|metric| row(*metric, base, new)).collect();
    let tests = rows.len() as f64;
    let judgeable = significance::least_p(base.len(), new.len()) * tests <= ALPHA;
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by(|a, b| rows[*a].0.p.total_cmp(&rows[*b].0.p));
    let mut rejected = true;
    for (rank, at) in order.into_iter().enumerate() {
        let (row, more_is_better) = &mut rows[at];
        rejected &= row.p * (tests - rank as f64) <= ALPHA;
        row.finding = if !judgeable {
            Finding::Unjudged
        } else if !rejected || (row.ratio - 1.0).abs() < MIN_EFFECT {
            Finding::Same
        } else if (row.ratio > 1.0) == *more_is_better {
            Finding::Better
        } else {
            Finding::Worse
        };
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

fn row(metric: Metric, base: &[Summary], new: &[Summary]) -> Option<(Row, bool)> {
    let values = |runs: &[Summary]| runs.iter().filter_map(metric.value).collect::<Vec<_>>();
    let (base, new) = (values(base), values(new));
    let (base_spread, new_spread) = (Spread::of(&base)?, Spread::of(&new)?);
    let ratio = match (base_spread.median, new_spread.median) {
        (0.0, 0.0) => 1.0,
        (base, new) => new / base,
    };
    let p = significance::p_value(&base, &new);
    let row = Row { name: metric.name, base: base_spread, new: new_spread, ratio, p, finding: Finding::Unjudged };
    Some((row, metric.more_is_better))
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(below, above), min, max })
    }
}

fn warnings(base: &Report, new: &Report) -> Vec<String> {
    let mut warnings = differences(&base.plan, &new.plan);
    for (side, report) in [("base", base), ("new", new)] {
        for reason in &report.verdict.invalid {
            warnings.push(format!("{side} is no valid run: {reason}"));
        }
    }
    if base.plan.mode == Mode::Open && new.plan.mode == Mode::Open {
        warnings.push("open loops: the plan sets the throughput, unless the server cannot keep up".to_owned());
    }
    warnings
}

/// Where the sides were not given the same load.
fn differences(base: &PlanRecord, new: &PlanRecord) -> Vec<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, base: &dyn ToString, new: &dyn ToString| {
        let (base, new) = (base.to_string(), new.to_string());
        if base != new {
            differences.push(format!("not the same load: {what} {base} against {new}"));
        }
    };
    let word = |mode: Mode| if mode == Mode::Open { "open" } else { "closed" };
    let number = |number: Option<u64>| number.map_or_else(|| "unlimited".to_owned(), |number| number.to_string());
    let seconds =
        |seconds: Option<f64>| seconds.map_or_else(|| "unlimited".to_owned(), |seconds| format!("{seconds} s"));
    compare("loop", &word(base.mode), &word(new.mode));
    compare("requests", &base.requests.join(", "), &new.requests.join(", "));
    compare("connections", &base.connections, &new.connections);
    compare("number of requests", &number(base.planned_requests), &number(new.planned_requests));
    compare("duration", &seconds(base.duration_s), &seconds(new.duration_s));
    compare("keep-alive", &base.keep_alive, &new.keep_alive);
    compare("time-out in ms", &base.timeout_ms, &new.timeout_ms);
    compare("attempts", &base.retries.attempts, &new.retries.attempts);
    if base.mode == new.mode && base.curve != new.curve {
        differences.push("not the same load: another rate over time".to_owned());
    }
    differences
}

#[cfg(test)]
mod tests;
