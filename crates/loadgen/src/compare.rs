//! Compares two recorded results: how large the difference is, and whether it is significant.
//!
//! Each side is a series of repeated runs (`--repeat`), made in one block, so every difference includes drift of the
//! machine; [`crate::ab`] alternates the runs instead. A difference is reported if equal sides would show it in less
//! than one of twenty comparisons *and* it is large enough to matter. Throughput, latency and failures are judged
//! separately, because a change may improve one at the expense of another.
//!
//! - [`finding`]: the finding for a group of metrics; [`failures`]: the share of failed requests
//! - [`likeness`]: why sides cannot be compared; [`text`]: the table

pub(crate) mod failures;
pub(crate) mod finding;
mod likeness;
pub(crate) mod text;

pub use failures::Failures;
pub use finding::Finding;
use finding::holm;

use crate::report::{Mode, Report, Summary};
use crate::stats::{Spread, least_rank_sum_p, rank_sum_p};

/// A smaller difference is not reported, however regular: two series of runs of the same program, minutes apart on the
/// same machine, differ by this much.
const MIN_EFFECT: f64 = 0.02;

/// One metric of both sides.
#[derive(Clone, Debug)]
pub struct Row {
    pub name: &'static str,
    pub base: Spread,
    pub new: Spread,
    /// The ratio of the medians, new to base.
    pub ratio: f64,
    /// The p-value: the probability of at least this difference between equal sides.
    pub p: f64,
    pub finding: Finding,
}

#[derive(Clone, Debug)]
pub struct Comparison {
    pub throughput: Vec<Row>,
    pub latency: Vec<Row>,
    pub failures: Failures,
    pub runs: (usize, usize),
    /// Why the sides cannot be compared. If there is a reason, the findings are void.
    pub refusals: Vec<String>,
    /// Remarks about a valid comparison.
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&Summary) -> Option<f64>,
    pub(crate) more_is_better: bool,
    /// The number of successful answers that it needs, so that it does not depend on a few of them.
    pub(crate) samples: u64,
}

pub(crate) const RATE: Metric =
    Metric { name: "Requests per second", value: |s| Some(s.requests_per_second), more_is_better: true, samples: 0 };
const GOODPUT: Metric =
    Metric { name: "Goodput per second", value: |s| Some(s.goodput_per_second), more_is_better: true, samples: 0 };
pub(crate) const LATENCY: [Metric; 4] = [
    Metric { name: "Mean [ms]", value: |s| s.mean_ms, more_is_better: false, samples: 1 },
    Metric { name: "p50 [ms]", value: |s| s.p50_ms, more_is_better: false, samples: 20 },
    Metric { name: "p95 [ms]", value: |s| s.p95_ms, more_is_better: false, samples: 200 },
    Metric { name: "p99 [ms]", value: |s| s.p99_ms, more_is_better: false, samples: 1_000 },
];

impl Comparison {
    #[must_use]
    pub fn new(base: &Report, new: &Report) -> Self {
        let (base_runs, new_runs) = (runs(base), runs(new));
        let refusals = likeness::refusals(base, new);
        let mut comparison = Self {
            throughput: judge(&[RATE, GOODPUT], &base_runs, &new_runs),
            latency: judge(&LATENCY, &base_runs, &new_runs),
            failures: Failures::new(&base_runs, &new_runs),
            runs: (base_runs.len(), new_runs.len()),
            warnings: likeness::warnings(base, new),
            refusals,
        };
        // The plan determines the throughput of an open loop.
        let is_open = base.plan.mode == Mode::Open && new.plan.mode == Mode::Open;
        for row in comparison.throughput.iter_mut().filter(|_| is_open) {
            row.finding = Finding::Same;
        }
        if !comparison.refusals.is_empty() {
            for row in comparison.throughput.iter_mut().chain(&mut comparison.latency) {
                row.finding = Finding::Unjudged;
            }
            comparison.failures.finding = Finding::Unjudged;
        }
        comparison
    }

    /// The findings for throughput, latency and failures.
    #[must_use]
    pub fn findings(&self) -> [(&'static str, Finding); 3] {
        let overall = |rows: &[Row]| Finding::overall(rows.iter().map(|row| row.finding));
        [
            ("Throughput", overall(&self.throughput)),
            ("Latency", overall(&self.latency)),
            ("Failures", self.failures.finding),
        ]
    }

    /// The table and the findings, as plain text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::render(self)
    }
}

fn runs(report: &Report) -> Vec<Summary> {
    if report.repeats.is_empty() {
        return vec![report.summary.clone()];
    }
    report.repeats.iter().map(|run| run.summary.clone()).collect()
}

/// Judges a group of metrics together: the more metrics are tested, the more likely chance makes one significant.
fn judge(metrics: &[Metric], base: &[Summary], new: &[Summary]) -> Vec<Row> {
    let mut rows: Vec<(Row, Metric)> =
        metrics.iter().filter_map(|metric| Some((row(*metric, base, new)?, *metric))).collect();
    let ps: Vec<f64> = rows.iter().map(|(row, _)| row.p).collect();
    let judgeable = least_rank_sum_p(base.len(), new.len());
    for ((row, metric), significant) in rows.iter_mut().zip(holm(&ps, judgeable)) {
        let few = base.iter().chain(new).any(|run| run.succeeded < metric.samples);
        row.finding = match significant {
            None => Finding::Unjudged,
            Some(_) if few => Finding::Unjudged,
            Some(true) if (row.ratio - 1.0).abs() >= MIN_EFFECT => Finding::of(row.ratio > 1.0, metric.more_is_better),
            Some(_) => Finding::Same,
        };
    }
    rows.into_iter().map(|(row, _)| row).collect()
}

/// `None` if neither side has a value. If only one side has, the table shows nothing for the other, and the failures
/// explain it.
fn row(metric: Metric, base: &[Summary], new: &[Summary]) -> Option<Row> {
    let values = |runs: &[Summary]| runs.iter().filter_map(metric.value).collect::<Vec<_>>();
    let (base, new) = (values(base), values(new));
    let (base_spread, new_spread) = (Spread::of(&base)?, Spread::of(&new)?);
    let ratio = match (base_spread.median, new_spread.median) {
        (0.0, 0.0) => 1.0,
        (base, new) => new / base,
    };
    let p = rank_sum_p(&base, &new);
    Some(Row { name: metric.name, base: base_spread, new: new_spread, ratio, p, finding: Finding::Unjudged })
}

#[cfg(test)]
mod tests;
