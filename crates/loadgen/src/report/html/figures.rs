//! The plots of the page: rate, latency over time, latency by percentile, replicas, cache. A plot without data is
//! omitted.

use std::collections::{BTreeMap, BTreeSet};

use super::{latency, number};
use crate::charts::{Axis, Frame, Plot};
use crate::report::condition::Condition;
use crate::report::{Mode, Point, Report};

const PAGE: Frame = Frame::PAGE;
/// If latencies differ by more than this factor, the axis is logarithmic.
const LOG_FROM: f64 = 30.0;
/// CSS classes for names that servers choose, in order; any further names share the last one.
const COLOURS: usize = 8;

pub(super) fn all(report: &Report) -> String {
    // A single step has no development over time; its numbers are in the tables.
    if report.series.len() < 2 {
        return percentiles(report);
    }
    let replicas = "Which replica answered (<code>X-Instance</code>). Equal heights are an even balance; a gap is a replica that is away.";
    let cache = "What the answers' <code>Cache-Status</code> says.";
    [
        rates(report),
        latencies(report),
        percentiles(report),
        shares(report, "Replicas", replicas, |point| &point.instances),
        shares(report, "Cache", cache, |point| &point.cache),
    ]
    .concat()
}

fn end(point: &Point) -> f64 {
    point.at_s + point.seconds
}

fn time_axis(report: &Report) -> Axis {
    PAGE.x(0.0, report.series.last().map_or(1.0, end))
}

fn seconds(value: f64) -> String {
    format!("{} s", number(value, 3))
}

fn per_second(value: f64) -> String {
    if value >= 10_000.0 { format!("{}k", number(value / 1_000.0, 1)) } else { number(value, 2) }
}

/// A layer of the rate plot: class, name and its count in a step.
type Layer = (&'static str, &'static str, fn(&Point) -> u64);

const LAYERS: [Layer; 6] = [
    ("s2", "2xx", |point| statuses(point, '2')),
    ("s3", "3xx", |point| statuses(point, '3')),
    ("s4", "4xx", |point| statuses(point, '4')),
    ("s5", "5xx", |point| statuses(point, '5')),
    ("s0", "no answer", |point| point.errors.values().sum()),
    ("sd", "dropped", |point| point.dropped),
];

fn statuses(point: &Point, class: char) -> u64 {
    point.statuses.iter().filter(|(status, _)| status.starts_with(class)).map(|(_, count)| count).sum()
}

fn rates(report: &Report) -> String {
    let rate = |point: &Point, count: u64| count as f64 / point.seconds.max(1e-9);
    let total = |point: &Point| LAYERS.iter().map(|(_, _, count)| rate(point, count(point))).sum::<f64>();
    let planned: Vec<(f64, f64)> = planned_rate(report);
    let largest = report.series.iter().map(total).chain(planned.iter().map(|(_, rate)| *rate)).fold(0.0, f64::max);
    let mut plot = Plot::new(PAGE, time_axis(report), PAGE.y(largest), seconds, per_second);
    let mut floor = vec![0.0; report.series.len()];
    for (class, name, count) in LAYERS {
        let steps: Vec<_> = report
            .series
            .iter()
            .zip(&mut floor)
            .map(|(point, floor)| {
                let low = *floor;
                *floor += rate(point, count(point));
                (point.at_s, end(point), low, *floor)
            })
            .collect();
        plot.band(class, name, &steps);
    }
    plot.curve("planned", "planned", &planned);
    let reading = |point: &Point| {
        let parts = LAYERS.iter().map(|(_, name, count)| (*name, count(point))).filter(|(_, count)| *count > 0);
        let parts =
            parts.map(|(name, count)| format!("{name} {}/s", per_second(rate(point, count)))).collect::<Vec<_>>();
        format!("{}\nin flight {}", parts.join("\n"), point.in_flight)
    };
    let caption = "Requests per second by how they ended, in the second in which they were planned.";
    plot.figure("Rate", caption, &readings(report, reading))
}

/// The planned rate as corners of a line, up to the end of the run.
fn planned_rate(report: &Report) -> Vec<(f64, f64)> {
    let last = report.series.last().map_or(0.0, end);
    let mut corners = Vec::new();
    let mut at = 0.0;
    for stage in &report.plan.curve {
        let left = last - at;
        if left <= 0.0 {
            break;
        }
        let shown = left.min(stage.seconds);
        corners.push((at, stage.from));
        corners.push((at + shown, stage.from + (stage.to - stage.from) * shown / stage.seconds));
        at += stage.seconds;
    }
    corners
}

/// Linear from zero, or logarithmic if a few slow requests would flatten the rest.
fn latency_axis(values: impl Iterator<Item = f64>) -> Axis {
    let (smallest, largest) =
        values.filter(|value| *value > 0.0).fold((f64::MAX, 0.0_f64), |(low, high), v| (low.min(v), high.max(v)));
    if largest > smallest * LOG_FROM { PAGE.y_log(smallest, largest) } else { PAGE.y(largest) }
}

/// A line of the latency plot: class, name and the value of a step.
type Line = (&'static str, &'static str, fn(&Point) -> Option<f64>);

const LINES: [Line; 4] = [
    ("max", "max", |p| p.max_ms),
    ("p99", "p99", |p| p.p99_ms),
    ("p95", "p95", |p| p.p95_ms),
    ("p50", "p50", |p| p.p50_ms),
];

fn latencies(report: &Report) -> String {
    let bounds: Vec<(f64, &str)> = report
        .verdict
        .conditions
        .iter()
        .filter_map(|result| {
            Some((result.fail_if.parse::<Condition>().ok()?.latency_bound()?, result.fail_if.as_str()))
        })
        .collect();
    let values = report.series.iter().flat_map(|point| LINES.iter().filter_map(|(_, _, value)| value(point)));
    let axis = latency_axis(values.chain(bounds.iter().map(|(bound, _)| *bound)));
    let mut plot = Plot::new(PAGE, time_axis(report), axis, seconds, latency);
    for (class, name, value) in LINES {
        let steps: Vec<_> = report.series.iter().map(|point| (point.at_s, end(point), value(point))).collect();
        plot.steps(class, name, &steps);
    }
    for (bound, rule) in bounds {
        plot.bound(bound, &format!("fail if {rule}"));
    }
    let reading = |point: &Point| {
        let line = |(_, name, value): &Line| value(point).map(|value| format!("{name} {}", latency(value)));
        LINES.iter().filter_map(line).collect::<Vec<_>>().join("\n")
    };
    let caption = match report.plan.mode {
        Mode::Open => "Of good answers, from the planned time of each request, at that time.",
        Mode::Closed => {
            "Of good answers, from the sending of each request, at that time. While the server stalls a closed loop \
             sends nothing, so a stall hardly shows in the percentiles: use --rate to see what users would."
        }
    };
    plot.figure("Latency over time", caption, &readings(report, reading))
}

fn percentiles(report: &Report) -> String {
    let latency_curve = by_percentile(&report.histogram.good);
    let service_curve = report.histogram.service.as_deref().map(by_percentile).unwrap_or_default();
    let bad_curve = by_percentile(&report.histogram.bad);
    let deepest = [&latency_curve, &bad_curve].into_iter().filter_map(|curve| curve.last()).map(|(x, _)| *x);
    let Some(deepest) = deepest.max_by(f64::total_cmp) else { return String::new() };
    let values = latency_curve.iter().chain(&bad_curve).chain(&service_curve).map(|(_, value)| *value);
    let marks = [
        (0.0, "min"),
        (0.5, "p50"),
        (0.9, "p90"),
        (0.99, "p99"),
        (0.999, "p99.9"),
        (0.9999, "p99.99"),
        (0.99999, "p99.999"),
    ];
    let ticks =
        marks.into_iter().map(|(q, name)| (depth(q), name.to_owned())).filter(|(at, _)| *at <= deepest.max(0.5));
    let mut plot = Plot::with_ticks(PAGE, PAGE.x(0.0, deepest.max(0.5)), latency_axis(values), ticks, latency);
    if !service_curve.is_empty() {
        plot.curve("service", "all, from the actual send time", &service_curve);
    }
    plot.curve("max", "bad", &bad_curve);
    plot.curve("p95", "good", &latency_curve);
    let caption = match report.plan.mode {
        Mode::Open => {
            "The share of requests that took no longer, by how they ended. Latency counts from the planned send time, service time \
             from the actual one."
        }
        Mode::Closed => "The share of requests that took no longer, by how they ended.",
    };
    let readings: Vec<_> = latency_curve
        .iter()
        .map(|(x, value)| (*x, format!("{} %\n{}", number(100.0 - 100.0 * 10_f64.powf(-x), 4), latency(*value))))
        .collect();
    plot.figure("Latency by percentile", caption, &readings)
}

/// Each unit of the axis stands for requests that are ten times rarer.
fn depth(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The points of the percentile curve, up to the last request but one: the last one would be at infinity.
fn by_percentile(buckets: &[(u64, u64)]) -> Vec<(f64, f64)> {
    let total: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let mut curve = Vec::new();
    for (micros, count) in buckets {
        let ms = *micros as f64 / 1_000.0;
        // A bucket holds every rank between its bounds.
        curve.push((depth(below as f64 / total as f64), ms));
        below += count;
        let end = (below.min(total - 1)) as f64 / total as f64;
        curve.push((depth(end), ms));
    }
    curve.dedup();
    thinned(curve)
}

/// Points on the same pixel are omitted.
fn thinned(curve: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let span = curve.last().map_or(1.0, |(x, _)| x.max(0.5)) / 900.0;
    let mut kept: Vec<(f64, f64)> = Vec::new();
    let last = curve.len().saturating_sub(1);
    for (at, point) in curve.into_iter().enumerate() {
        if at == last || kept.last().is_none_or(|(x, _)| point.0 - x >= span) {
            kept.push(point);
        }
    }
    kept
}

/// Proportions of the answers by name, stacked.
fn shares(report: &Report, title: &str, caption: &str, counts: fn(&Point) -> &BTreeMap<String, u64>) -> String {
    let names: BTreeSet<&String> = report.series.iter().flat_map(|point| counts(point).keys()).collect();
    if names.is_empty() {
        return String::new();
    }
    let rate = |point: &Point, count: u64| count as f64 / point.seconds.max(1e-9);
    let largest = report.series.iter().map(|point| rate(point, counts(point).values().sum())).fold(0.0, f64::max);
    let mut plot = Plot::new(PAGE, time_axis(report), PAGE.y(largest), seconds, per_second);
    let mut floor = vec![0.0; report.series.len()];
    for (at, name) in names.into_iter().enumerate() {
        let steps: Vec<_> = report
            .series
            .iter()
            .zip(&mut floor)
            .map(|(point, floor)| {
                let low = *floor;
                *floor += rate(point, counts(point).get(name).copied().unwrap_or(0));
                (point.at_s, end(point), low, *floor)
            })
            .collect();
        plot.band(&format!("c{}", at.min(COLOURS - 1)), name, &steps);
    }
    let reading = |point: &Point| {
        let part = |(name, count): (&String, &u64)| format!("{name} {}/s", per_second(rate(point, *count)));
        counts(point).iter().map(part).collect::<Vec<_>>().join("\n")
    };
    plot.figure(title, caption, &readings(report, reading))
}

fn readings(report: &Report, reading: impl Fn(&Point) -> String) -> Vec<(f64, String)> {
    report.series.iter().map(|point| (point.at_s, format!("at {}\n{}", seconds(point.at_s), reading(point)))).collect()
}
