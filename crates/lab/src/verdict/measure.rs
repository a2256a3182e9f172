//! Computes a measure of an arm in a window from the journal. A value that was not measured is an error, never zero.

use loadgen::{LatencyStats, Report, Window, stats::Share};
use stack::Target;

use super::{Observed, is_of_the_load, number};
use crate::{
    experiment::Expect,
    hypothesis::{Answers, Measure, Part},
    journal::{ArmRun, ProbeAnswer, Run},
    metrics::{Reading, belongs},
    price,
};

/// Redis recovers within 2 s, and another 2 s later it has received what it missed: docs/history.md.
const REPAIRED_AFTER_S: f64 = 4.0;
/// A second counts as available if this share of its requests succeeded: the contract's uptime is 95 %.
const AVAILABLE: f64 = 0.95;

/// # Errors
/// Why the value cannot be determined.
pub(crate) fn observe(run: &Run<'_>, arm: &ArmRun<'_>, window: &str, measure: &Measure) -> Result<Observed, String> {
    match measure {
        Measure::Ratio { measure, to_arm, to_window } => ratio(run, arm, window, measure, to_arm, to_window),
        Measure::Detect(probe) => detect(arm, probe),
        Measure::Recover(probe) => recover(arm, probe),
        Measure::PricePerMonth => Ok(plain(price::per_month(&arm.arm.stack))),
        measure if is_of_the_load(measure) => of_the_load(arm, window, measure),
        measure => {
            let bounds = arm.window(window)?;
            of_probes_and_metrics(arm, bounds, measure)
        }
    }
}

fn plain(value: f64) -> Observed {
    Observed { value, ..Observed::default() }
}

fn of_the_load(arm: &ArmRun<'_>, name: &str, measure: &Measure) -> Result<Observed, String> {
    let (report, _) = arm.load.ok_or("there was no load")?;
    let (from, to) = arm.window(name)?;
    let window = report.window(from, to).ok_or_else(|| format!("nothing was planned in the window {name}"))?;
    let summary = window.summary();
    let bad = summary.sent - summary.succeeded;
    match measure {
        Measure::Success => share(summary.succeeded, summary.sent, "succeeded"),
        Measure::Failures => count(bad, summary.sent, "failed"),
        Measure::Goodput => {
            some(summary.sent)?;
            Ok(Observed {
                value: summary.succeeded as f64 / window.seconds,
                n: summary.succeeded,
                ..Observed::default()
            })
        }
        Measure::Instances => {
            some(summary.sent)?;
            Ok(plain(window.instances().len() as f64))
        }
        Measure::Status(status) => {
            let answers =
                window.statuses().iter().filter(|count| count.status == *status).map(|count| count.count).sum();
            count(answers, summary.sent, &format!("were answered {status}"))
        }
        Measure::KindFailures(kind) => {
            let kinds = window.kinds();
            let kind = kinds.iter().find(|known| known.name == *kind);
            let kind = kind.ok_or("no request of this name was sent")?;
            count(kind.sent - kind.succeeded, kind.sent, "failed")
        }
        Measure::Latency { of, percentile } => latency(&window, *of, *percentile),
        Measure::KindLatency { kind, of, percentile } => {
            let kinds = window.kinds();
            let kind = kinds.iter().find(|known| known.name == *kind).ok_or("no request of this name was sent")?;
            let stats = match of {
                Answers::Good => kind.good.clone(),
                Answers::Bad => kind.bad.clone(),
                Answers::All => None,
            };
            percentile_of(stats, &format!("{} answer of {}", of.word(), kind.name), *percentile)
        }
        Measure::Availability => availability(report, (from, to)),
        other => Err(format!("{} is not measured by the load", other.name())),
    }
}

fn some(n: u64) -> Result<(), String> {
    if n == 0 { Err("there is no data in the window".to_owned()) } else { Ok(()) }
}

fn share(part: u64, whole: u64, what: &str) -> Result<Observed, String> {
    some(whole)?;
    let share = Share { part, whole };
    let (low, high) = share.interval();
    Ok(Observed {
        value: share.ratio() * 100.0,
        interval: Some((low * 100.0, high * 100.0)),
        n: whole,
        text: format!("{part} of {whole} {what}"),
    })
}

/// A count with the interval in which the count of another run of the same length would lie.
fn count(part: u64, whole: u64, what: &str) -> Result<Observed, String> {
    some(whole)?;
    let (low, high) = Share { part, whole }.interval();
    let text = if part == 0 {
        format!("0 of {whole} {what}; with 95 % confidence fewer than {} %", number(high * 100.0))
    } else {
        format!("{part} of {whole} {what}")
    };
    Ok(Observed { value: part as f64, interval: Some((low * whole as f64, high * whole as f64)), n: whole, text })
}

fn latency(window: &Window, of: Answers, percentile: f64) -> Result<Observed, String> {
    let table = window.latency();
    let (stats, whose) = match of {
        Answers::Good => (table.good, "good answer"),
        Answers::Bad => (table.bad, "failure"),
        Answers::All => (table.all, "request"),
    };
    percentile_of(stats, whose, percentile)
}

fn percentile_of(stats: Option<LatencyStats>, whose: &str, percentile: f64) -> Result<Observed, String> {
    let stats = stats.ok_or_else(|| format!("there is no {whose} in the window"))?;
    let value = read(&stats, percentile).ok_or_else(|| format!("p{percentile} is not recorded"))?;
    let name = format!("p{percentile}");
    let text = if stats.too_few_for.contains(&name) {
        format!("{} ms, from {} answers only: too few for {name}", number(value), stats.count)
    } else {
        String::new()
    };
    Ok(Observed { value, interval: None, n: stats.count, text })
}

fn read(stats: &LatencyStats, percentile: f64) -> Option<f64> {
    let known = [
        (50.0, stats.p50_ms),
        (90.0, stats.p90_ms),
        (95.0, stats.p95_ms),
        (99.0, stats.p99_ms),
        (99.9, stats.p99_9_ms),
        (100.0, stats.max_ms),
    ];
    known.into_iter().find(|(at, _)| (at - percentile).abs() < 1e-9).map(|(_, value)| value)
}

fn availability(report: &Report, (from, to): (f64, f64)) -> Result<Observed, String> {
    let (mut up, mut all) = (0, 0);
    let mut at = from.ceil();
    while at < to {
        if let Some(second) = report.window(at, at + 1.0) {
            let summary = second.summary();
            if summary.sent > 0 {
                all += 1;
                up += u64::from(summary.succeeded as f64 >= AVAILABLE * summary.sent as f64);
            }
        }
        at += 1.0;
    }
    share(up, all, "seconds were available")
}

fn ratio(
    run: &Run<'_>,
    arm: &ArmRun<'_>,
    window: &str,
    measure: &Measure,
    to_arm: &str,
    to_window: &str,
) -> Result<Observed, String> {
    let other = run.of_arm(to_arm).find(|other| other.repeat == arm.repeat);
    let other = other.ok_or_else(|| format!("the arm {to_arm} did not run"))?;
    if let Some(why) = super::alone::faults(other, run.begin.allowance).first() {
        return Err(format!("the arm {to_arm} is invalid: {why}"));
    }
    let above = observe(run, arm, window, measure)?;
    let below = observe(run, other, to_window, measure).map_err(|why| format!("{to_arm}: {why}"))?;
    if below.value == 0.0 {
        return Err(format!("{to_arm} has 0 {}, of which there is no multiple", measure.name()));
    }
    let unit = measure.unit();
    let text = format!("{} {unit} against {} {unit}", number(above.value), number(below.value));
    Ok(Observed { value: above.value / below.value, interval: None, n: above.n.min(below.n), text })
}

fn probe<'a>(
    arm: &'a ArmRun<'_>,
    name: &str,
) -> Result<(&'a crate::experiment::ProbePlan, Vec<&'a ProbeAnswer>), String> {
    let plan = arm.arm.probes.iter().find(|probe| probe.name == name);
    let plan = plan.ok_or_else(|| format!("there is no probe {name}"))?;
    let answers = arm.probes.get(name).cloned().unwrap_or_default();
    some(answers.len() as u64)?;
    Ok((plan, answers))
}

fn detect(arm: &ArmRun<'_>, name: &str) -> Result<Observed, String> {
    let (plan, answers) = probe(arm, name)?;
    let effect = arm.marks.get("effect").ok_or("no fault took effect")?;
    let first = answers.iter().find(|answer| ended(answer) >= effect && !answer.fits(&plan.good));
    let first = first.ok_or("every answer was good: there was nothing to detect")?;
    Ok(plain((ended(first) - effect).max(0.0)))
}

fn recover(arm: &ArmRun<'_>, name: &str) -> Result<Observed, String> {
    let (plan, answers) = probe(arm, name)?;
    let undone = arm.marks.get("undone").ok_or("nothing was undone")?;
    let first = answers.iter().find(|answer| answer.at / 1e3 >= undone && answer.fits(&plan.good));
    let first = first.ok_or("there was no good answer after the undoing")?;
    Ok(plain((ended(first) - undone).max(0.0)))
}

/// When an answer arrived, in s from the start.
fn ended(answer: &ProbeAnswer) -> f64 {
    (answer.at + answer.took) / 1e3
}

fn of_probes_and_metrics(arm: &ArmRun<'_>, bounds: (f64, f64), measure: &Measure) -> Result<Observed, String> {
    match measure {
        Measure::Unexpected { probe: name, expect } => {
            // What was requested in the window and answered after it may count either way.
            let answers: Vec<_> = arm.answers(name, bounds).filter(|answer| ended(answer) <= bounds.1).collect();
            let other: Vec<_> = answers.iter().filter(|answer| !answer.fits(expect)).collect();
            let mut observed = count(other.len() as u64, answers.len() as u64, "were not as expected")?;
            if let Some(first) = other.first() {
                observed.text += &format!(", the first one after {:.3} s: {first}", first.at / 1e3 - bounds.0);
            }
            Ok(observed)
        }
        Measure::Slowest { probe, part } => {
            let times = times(arm, probe, *part, bounds)?;
            Ok(Observed {
                value: times.iter().copied().fold(0.0, f64::max),
                n: times.len() as u64,
                ..Observed::default()
            })
        }
        Measure::Median { probe, part } => {
            let times = times(arm, probe, *part, bounds)?;
            let value = loadgen::stats::median(&times).ok_or("there is no data in the window")?;
            Ok(Observed { value, n: times.len() as u64, ..Observed::default() })
        }
        Measure::ProbeAnswers(probe) => Ok(plain(arm.answers(probe, bounds).count() as f64)),
        Measure::WrongOrOlder(probe) => wrong_or_older(arm, probe, bounds),
        Measure::Behind { probe, writer } => behind(arm, probe, writer, bounds),
        Measure::Metric(series) => growth(arm, series, bounds, |grown| grown.iter().sum()),
        Measure::MetricOfOneReplica(series) => {
            growth(arm, series, bounds, |grown| grown.iter().copied().fold(f64::NEG_INFINITY, f64::max))
        }
        Measure::MetricHighest(series) => highest(arm, series, bounds),
        other => Err(format!("{} is not measured by probes", other.name())),
    }
}

fn times(arm: &ArmRun<'_>, name: &str, part: Part, bounds: (f64, f64)) -> Result<Vec<f64>, String> {
    let of = |answer: &ProbeAnswer| match part {
        Part::Whole => answer.took,
        Part::Redis => answer.redis.unwrap_or(answer.took),
    };
    let times: Vec<f64> = arm.answers(name, bounds).map(of).collect();
    some(times.len() as u64)?;
    Ok(times)
}

/// An older answer is excepted where the promise of the cache is: while Redis is disturbed, and until it has been told of the
/// writes that it missed.
fn wrong_or_older(arm: &ArmRun<'_>, name: &str, bounds: (f64, f64)) -> Result<Observed, String> {
    let disturbed = arm.disturbances(Target::Redis);
    let (mut newest, mut bad, mut excepted, mut read) = (i64::MIN, 0, 0, 0_u64);
    for answer in arm.answers(name, bounds) {
        let Some(version) = answer.version else {
            bad += u64::from(answer.wrong);
            continue;
        };
        read += 1;
        let at = answer.at / 1e3;
        if answer.wrong {
            bad += 1;
        } else if version < newest {
            let is_excepted = disturbed.iter().any(|(from, to)| (*from..*to + REPAIRED_AFTER_S).contains(&at));
            *(if is_excepted { &mut excepted } else { &mut bad }) += 1;
        }
        newest = newest.max(version);
    }
    let mut observed = count(bad, read, "were wrong or older")?;
    if excepted > 0 {
        observed.text += &format!(
            "; {excepted} more were older while Redis was disturbed, or less than {REPAIRED_AFTER_S} s later, as documented"
        );
    }
    Ok(observed)
}

/// The time from the answer to the first write that a read does not show to the beginning of that read; 0 if the reads
/// show all writes.
fn behind(arm: &ArmRun<'_>, probe: &str, writer: &str, bounds: (f64, f64)) -> Result<Observed, String> {
    let written: Vec<(f64, i64)> = arm
        .answers(writer, (f64::NEG_INFINITY, f64::INFINITY))
        .filter_map(|answer| Some((answer.at + answer.took, answer.version?)))
        .collect();
    some(written.len() as u64)?;
    let (mut longest, mut old, mut read) = (0.0_f64, 0, 0);
    for answer in arm.answers(probe, bounds) {
        let Some(version) = answer.version else { continue };
        read += 1;
        let first_missed = written.iter().find(|(known, newer)| *known < answer.at && *newer > version);
        if let Some((known, _)) = first_missed {
            old += 1;
            longest = longest.max(answer.at - known);
        }
    }
    some(read)?;
    let text = format!("{old} of {read} were old, by {} ms at most", number(longest));
    Ok(Observed { value: longest, interval: None, n: read, text })
}

/// The growth of each replica's series; after a restart a replica counts from zero.
fn growth(
    arm: &ArmRun<'_>,
    series: &str,
    (from, to): (f64, f64),
    fold: impl Fn(&[f64]) -> f64,
) -> Result<Observed, String> {
    let missing = || "the replicas' metrics were not read at both ends of the window".to_owned();
    let first =
        near(arm, from).or_else(|| arm.metrics.iter().rev().find(|(at, _)| *at <= from)).or(arm.metrics.first());
    let last = near(arm, to).or_else(|| arm.metrics.iter().find(|(at, _)| *at >= to)).or(arm.metrics.last());
    let (first, last) = (first.ok_or_else(missing)?, last.ok_or_else(missing)?);
    if last.0 <= first.0 {
        return Err(missing());
    }
    let total = |all: &std::collections::BTreeMap<String, f64>| -> Option<f64> {
        let mut values = all.iter().filter(|(name, _)| belongs(name, series)).map(|(_, value)| *value).peekable();
        values.peek().is_some().then(|| values.sum())
    };
    let mut grown = Vec::new();
    let mut known = false;
    for (replica, now) in &last.1 {
        let before = first.1.get(replica).and_then(total);
        let Some(after) = total(now) else { continue };
        known = true;
        let before = before.filter(|before| *before <= after).unwrap_or(0.0);
        grown.push(after - before);
    }
    if !known {
        return Err(format!("no replica has the series {series}"));
    }
    Ok(Observed { value: fold(&grown), n: grown.len() as u64, ..Observed::default() })
}

/// The sample that was taken because of a mark at this time, shortly after it.
fn near<'a>(arm: &'a ArmRun<'_>, at: f64) -> Option<&'a (f64, Reading)> {
    const MOMENT: f64 = 0.1;
    arm.metrics.iter().find(|(read, _)| (at..at + MOMENT).contains(read))
}

fn highest(arm: &ArmRun<'_>, series: &str, (from, to): (f64, f64)) -> Result<Observed, String> {
    let seen = arm.metrics.iter().filter(|(at, _)| (from..=to).contains(at));
    let values = seen
        .flat_map(|(_, replicas)| replicas.values())
        .flat_map(|all| all.iter().filter(|(name, _)| belongs(name, series)).map(|(_, value)| *value));
    let value = values.fold(f64::NEG_INFINITY, f64::max);
    if value.is_finite() { Ok(plain(value)) } else { Err(format!("no value of {series} was seen in the window")) }
}

impl ProbeAnswer {
    /// Whether the answer matches the expectation.
    #[must_use]
    pub fn fits(&self, expect: &Expect) -> bool {
        (expect.status.is_empty() || expect.status.contains(&self.status))
            && (expect.cache.is_empty() || expect.cache.iter().any(|start| self.cache.starts_with(start.as_str())))
            && (expect.code.is_empty() || expect.code.contains(&self.code))
    }
}

impl std::fmt::Display for ProbeAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.status == 0 {
            return write!(f, "no answer ({})", self.error);
        }
        write!(f, "{}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        if !self.cache.is_empty() {
            write!(f, " ({})", self.cache)?;
        }
        Ok(())
    }
}
