//! The development of an arm, in slices of time that are long enough to contain some requests each.

use loadgen::{Point, Report};

use crate::journal::ArmRun;

/// How finely the time is cut.
struct Cut {
    most_slices: f64,
    /// Fewer requests make a percentile a matter of chance.
    least_requests: f64,
    least_slices: f64,
}

/// So many slices are told apart in a picture.
const DRAWN: Cut = Cut { most_slices: 120.0, least_requests: 15.0, least_slices: 10.0 };
const FINE: Cut = Cut { most_slices: 2_000.0, least_requests: 2.0, least_slices: 100.0 };

/// How a request ended: its class in the picture, and its name.
pub(super) const ENDS: [(&str, &str); 6] =
    [("s2", "good"), ("s5", "5xx"), ("s4", "4xx"), ("c3", "wrong content"), ("s0", "no answer"), ("sd", "not sent")];

/// An interval of time: the results of the requests that were planned in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Slice {
    pub(super) from: f64,
    pub(super) to: f64,
    /// In the order of [`ENDS`].
    pub(super) ends: [u64; 6],
    pub(super) p50: Option<f64>,
    pub(super) p95: Option<f64>,
}

impl Slice {
    pub(super) fn rate(&self, count: u64) -> f64 {
        count as f64 / (self.to - self.from).max(1e-9)
    }

    pub(super) fn total(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// Everything that is not good.
    pub(super) fn bad(&self) -> u64 {
        self.total() - self.ends[0]
    }
}

/// Every slice of an arm; none without a load. An interrupted run has no report of its load, only its points.
pub(super) fn slices(arm: &ArmRun<'_>) -> Vec<Slice> {
    match arm.load {
        Some((report, _)) => of_report(report, &DRAWN),
        None => arm.points.iter().map(|point| of_point(point)).collect(),
    }
}

/// As [`slices`], as finely as the load was recorded, up to what a browser zooms into without delay.
pub(super) fn fine_slices(arm: &ArmRun<'_>) -> Vec<Slice> {
    arm.load.map_or_else(Vec::new, |(report, _)| of_report(report, &FINE))
}

fn of_report(report: &Report, cut: &Cut) -> Vec<Slice> {
    // A window is of whole steps; a bound a hair before a step's begin includes it in spite of rounding.
    const HAIR: f64 = 1e-6;
    let end = report.series.last().map_or(0.0, |point| point.at_s + point.seconds);
    let rate = report.summary.planned as f64 / end.max(1e-9);
    let wanted = (end / cut.most_slices).max(cut.least_requests / rate.max(1e-9)).min(end / cut.least_slices);
    let length = (wanted / report.interval_s).ceil().max(1.0) * report.interval_s;
    if !length.is_finite() || length <= 0.0 {
        return Vec::new();
    }
    let count = (end / length).ceil().min(10_000.0) as u32;
    let mut slices = Vec::new();
    for place in 0..count {
        let from = f64::from(place) * length;
        let Some(window) = report.window(from - HAIR, from + length - HAIR) else { continue };
        let summary = window.summary();
        let statuses = window.statuses();
        let of = |class: u16| statuses.iter().filter(|it| it.status / 100 == class).map(|it| it.count).sum::<u64>();
        slices.push(Slice {
            from: window.from_s,
            to: window.to_s,
            ends: ends(summary.succeeded, summary.refused, of(5), of(4), summary.unanswered, summary.dropped),
            p50: summary.p50_ms,
            p95: summary.p95_ms,
        });
    }
    slices
}

fn of_point(point: &Point) -> Slice {
    let of = |class: char| {
        let counts = point.statuses.iter().filter(|(status, _)| status.starts_with(class)).map(|(_, count)| count);
        counts.sum::<u64>()
    };
    let refused = point.statuses.values().sum::<u64>().saturating_sub(point.succeeded);
    let unanswered = point.errors.values().sum();
    Slice {
        from: point.at_s,
        to: point.at_s + point.seconds,
        ends: ends(point.succeeded, refused, of('5'), of('4'), unanswered, point.dropped),
        p50: point.p50_ms,
        p95: point.p95_ms,
    }
}

/// Refusals are attributed to 5xx first: an experiment may define a 404 as good, but hardly ever a 503.
fn ends(good: u64, refused: u64, of_5xx: u64, of_4xx: u64, unanswered: u64, dropped: u64) -> [u64; 6] {
    let server = refused.min(of_5xx);
    let client = (refused - server).min(of_4xx);
    [good, server, client, refused - server - client, unanswered, dropped]
}

/// The time of the last event in an arm, in s from its start.
pub(super) fn end(arm: &ArmRun<'_>, slices: &[Slice]) -> f64 {
    let load = slices.last().map_or(0.0, |slice| slice.to);
    let marks = arm.reached.iter().map(|(_, at)| *at);
    let events = arm.events.iter().map(|event| event.done);
    let answers = arm.probes.values().filter_map(|answers| answers.last()).map(|last| (last.at + last.took) / 1e3);
    let all = marks.chain(events).chain(answers).filter(|at| at.is_finite());
    all.fold(load, f64::max).max(0.001)
}
