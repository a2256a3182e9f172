//! Whether the result of a run is valid, and what a reader must know before using its numbers.

use super::condition::{Condition, Measured};
use super::{ConditionResult, Ending, LatencyTable, Outcome, Report, Verdict};
use crate::outcome::ErrorClass;

/// At this utilization of a core, an arriving answer finds the generator busy nine times out of ten, so the queue of
/// the generator is measured.
const MAX_CPU_SHARE: f64 = 0.9;
/// A thread that was running or ready to run for this share of the time never ran out of work: the machine gave it too
/// little CPU time, so it was the bottleneck although it used less than a core.
const MAX_BUSY_SHARE: f64 = 0.95;
/// The promised accuracy: 1 ms or 1 %, whichever is more. The generator's own delay is the difference between latency
/// (from the planned time) and service time (from the actual send time).
const MAX_DELAY_MS: f64 = 1.0;
const MAX_DELAY_SHARE: f64 = 0.01;
/// If more than this share of requests was dropped, or was late beyond the promised accuracy, the numbers belong to
/// another load than the planned one.
const MAX_LOST_SHARE: f64 = 0.001;
/// Fewer late requests than this affect only percentiles that depend on fewer than ten samples, which are marked.
const MIN_DISTORTED: u64 = 10;
/// If the generator stalled for more than this share of the time, the result is invalid.
const MAX_STALLED_SHARE: f64 = 0.01;
/// Above this share of time without a core, the report has a remark about the machine.
const MAX_WAITING_SHARE: f64 = 0.1;
/// In a shorter time the share of CPU time is not meaningful, because the start of a run is always busy.
const MIN_JUDGED_S: f64 = 1.0;
/// Below this share of the planned rate, the rate counts as missed.
const MIN_RATE_SHARE: f64 = 0.99;

pub(super) fn is_saturated(report: &Report) -> bool {
    report.generator.measured_s >= MIN_JUDGED_S
        && (is_busy(report) || !distorted_percentiles(&report.latency).is_empty())
}

fn is_busy(report: &Report) -> bool {
    let is_busy =
        |thread: &super::ThreadRecord| thread.cpu_share >= MAX_CPU_SHARE || thread.busy_share() >= MAX_BUSY_SHARE;
    report.generator.threads.iter().any(is_busy)
}

/// A value that the generator's own delay distorts: its name, the value, and the value from the actual send time.
type Distorted = (&'static str, f64, f64);

/// Those of the percentiles that do not depend on single requests.
fn distorted_percentiles(latency: &LatencyTable) -> Vec<Distorted> {
    let (Some(all), Some(service)) = (&latency.all, &latency.service) else { return Vec::new() };
    let numbers = [
        ("p50", all.p50_ms, service.p50_ms),
        ("p90", all.p90_ms, service.p90_ms),
        ("p95", all.p95_ms, service.p95_ms),
        ("p99", all.p99_ms, service.p99_ms),
        ("p99.9", all.p99_9_ms, service.p99_9_ms),
    ];
    let sound = |name: &str| !all.too_few_for.iter().any(|few| few == name);
    numbers.into_iter().filter(|number| is_distorted(number) && sound(number.0)).collect()
}

/// Those that depend on single requests. They do not make a run invalid, but no condition on them can be judged.
fn distorted_extremes(latency: &LatencyTable) -> Vec<Distorted> {
    let (Some(all), Some(service)) = (&latency.all, &latency.service) else { return Vec::new() };
    let numbers = [("p99.9", all.p99_9_ms, service.p99_9_ms), ("max", all.max_ms, service.max_ms)];
    numbers.into_iter().filter(is_distorted).collect()
}

fn is_distorted(&(_, latency, service): &Distorted) -> bool {
    let delay = latency - service;
    delay > MAX_DELAY_MS && delay > MAX_DELAY_SHARE * latency
}

pub(super) fn pending() -> Verdict {
    Verdict { outcome: Outcome::Held, invalid: Vec::new(), notes: Vec::new(), conditions: Vec::new() }
}

impl Report {
    /// Judges the run by these conditions, which replace the earlier ones. If one is true, a valid run is a deviation.
    /// So is a run in which nothing succeeded, unless a condition concerns failures.
    pub fn judge(&mut self, conditions: &[Condition]) {
        let total = self.total();
        let kinds: Vec<String> = self.kinds.iter().map(|kind| kind.name.clone()).collect();
        let measured = Measured { total: &total, kinds: &kinds, seconds: self.summary.elapsed_s };
        let mut results: Vec<_> = conditions.iter().map(|condition| condition.check(&measured)).collect();
        if self.summary.succeeded == 0
            && self.summary.planned > 0
            && !conditions.iter().any(Condition::is_about_failures)
        {
            results.push(ConditionResult {
                fail_if: "nothing succeeds".to_owned(),
                measured: format!("0 of {} requests", self.summary.planned),
                failed: true,
                run: None,
            });
        }
        let invalid = faults(self, conditions);
        let outcome = match self.ending {
            Ending::Cancelled => Outcome::Interrupted,
            _ if !invalid.is_empty() => Outcome::Invalid,
            Ending::Complete | Ending::FinishedEarly | Ending::Aborted => {
                if results.iter().any(|result| result.failed) { Outcome::Deviated } else { Outcome::Held }
            }
        };
        self.verdict = Verdict { outcome, invalid, notes: notes(self), conditions: results };
    }
}

fn faults(report: &Report, conditions: &[Condition]) -> Vec<String> {
    let summary = &report.summary;
    let mut faults = Vec::new();
    if summary.planned == 0 {
        faults.push("nothing was sent".to_owned());
    }
    let stalls = &report.generator.stalls;
    let whole = report.generator.measured_s.max(summary.elapsed_s);
    if stalls.total_s > MAX_STALLED_SHARE * whole {
        faults.push(format!(
            "the generator itself stood still for {:.2} s in all, at {:.2} s for {:.2} s: it was stopped, or had no core; answers that \
             came meanwhile were read late",
            stalls.total_s, stalls.longest_at_s, stalls.longest_s
        ));
    }
    faults.extend(saturation(report));
    faults.extend(lost(report, conditions));
    for (name, latency, service) in distorted_extremes(&report.latency) {
        if conditions.iter().any(|condition| condition.extreme() == Some(name)) {
            faults.push(format!(
                "{name} cannot be judged: it is {latency:.1} ms from the planned and {service:.1} ms from the actual send time"
            ));
        }
    }
    if summary.sent > 0 && summary.answered == 0 && summary.unanswered > 0 {
        let first = report.errors.iter().max_by_key(|error| error.count);
        let cause = first.map(|error| format!(": {} × {} ({})", error.count, error.class.word(), error.example));
        faults.push(format!("not one answer{}", cause.unwrap_or_default()));
    }
    if let Some(local) = report.errors.iter().find(|error| error.class == ErrorClass::Local) {
        faults.push(format!(
            "the generator's machine ran out of ports, files or memory {} times ({}); use keep-alive or fewer connections",
            local.count, local.example
        ));
    }
    faults
}

fn saturation(report: &Report) -> Option<String> {
    let thread = report.generator.busiest().filter(|_| report.generator.saturated)?;
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let (cpu, waiting) = (percent(thread.cpu_share), percent(thread.waiting_share.unwrap_or(0.0)));
    Some(match distorted_percentiles(&report.latency).first() {
        Some((name, latency, service)) if !is_busy(report) => format!(
            "generator saturated: it could not send on time, so that {name} is {latency:.1} ms from the planned and \
             {service:.1} ms from the actual send time, at {cpu} of a core; give it a core of its own, or lower the rate"
        ),
        _ => format!(
            "generator saturated: it used {cpu} of a core and waited for one {waiting} of the time; use more --threads or \
             fewer --connections, or leave it more of the machine"
        ),
    })
}

/// Requests that were not part of the planned load.
fn lost(report: &Report, conditions: &[Condition]) -> Vec<String> {
    let summary = &report.summary;
    let mut lost = Vec::new();
    let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    let dropped = share(summary.dropped, summary.planned);
    if dropped > MAX_LOST_SHARE && !conditions.iter().any(Condition::is_about_drops) {
        lost.push(format!(
            "{:.1} % of the planned requests were dropped, all {} connections being busy: the loop was not open. Allow more \
             --connections, or name the drops you accept, for example --fail-if 'dropped>50%'",
            dropped * 100.0,
            report.plan.connections
        ));
    }
    let distorted = share(summary.distorted, summary.sent);
    let judged = report.generator.measured_s >= MIN_JUDGED_S && summary.distorted >= MIN_DISTORTED;
    if judged && distorted > MAX_LOST_SHARE && !conditions.iter().any(Condition::is_about_lateness) {
        lost.push(format!(
            "{:.1} % of the requests were sent so late that it shows in their latency (more than 1 ms and 1 % of it): leave the \
             generator more of the machine, or name what you accept, for example --fail-if 'late>5%'",
            distorted * 100.0
        ));
    }
    lost
}

fn notes(report: &Report) -> Vec<String> {
    let Report { summary, generator, plan, .. } = report;
    let mut notes = Vec::new();
    match report.ending {
        Ending::FinishedEarly => {
            notes.push("ended before its plan was, on request; what was sent was waited for".to_owned());
        }
        Ending::Aborted => notes.push("ended before its plan was: a condition was broken (--abort)".to_owned()),
        Ending::Complete | Ending::Cancelled => {}
    }
    if summary.dropped > 0 {
        notes.push(format!(
            "{} of {} planned requests were dropped, all {} connections being busy: the percentiles do not know them",
            summary.dropped, summary.planned, plan.connections
        ));
    }
    if let (Some(target), Some(sent)) = (summary.target_rate, summary.sent_rate)
        && sent < target * MIN_RATE_SHARE
    {
        notes.push(format!("target rate missed: {sent:.1} of {target:.1} requests per second were sent"));
    }
    if summary.late > 0 {
        notes.push(format!(
            "{} of {} requests were sent more than 1 ms late; the delay is part of their latency",
            summary.late, summary.sent
        ));
    }
    for (name, latency, service) in distorted_extremes(&report.latency) {
        notes.push(format!(
            "{name} of all is {latency:.1} ms from the planned and {service:.1} ms from the actual send time: the generator's own delay"
        ));
    }
    if generator.stalls.count > 0 {
        notes.push(format!(
            "the generator itself stood still {} ×, for {:.2} s at most",
            generator.stalls.count, generator.stalls.longest_s
        ));
    }
    notes.extend(remarks(report));
    notes
}

/// Remarks about the generator, and about requests beyond the first attempt.
fn remarks(report: &Report) -> Vec<String> {
    let Report { summary, generator, .. } = report;
    let mut notes = Vec::new();
    if generator.measured_s < MIN_JUDGED_S {
        notes.push("shorter than a second: too short to tell whether the generator was the bottleneck".to_owned());
    } else if generator.threads.iter().any(|thread| thread.waiting_share.is_none()) {
        notes.push(
            "the kernel does not count how long a thread waits for a core (no schedstat): a generator that got too little of \
             the machine is only noticed by late requests"
                .to_owned(),
        );
    } else if let Some(waiting) = generator.busiest().and_then(|thread| thread.waiting_share)
        && waiting > MAX_WAITING_SHARE
    {
        notes
            .push(format!("the generator waited for a core {:.0} % of the time: the machine is busy", waiting * 100.0));
    }
    if summary.retries > 0 {
        notes.push(format!("{} retries: the server got {} requests", summary.retries, summary.sent + summary.retries));
    }
    notes
}

impl Outcome {
    /// The exit code of `load run`.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Deviated => 1,
            Self::Invalid => 2,
            Self::Interrupted => 130,
        }
    }
}

#[cfg(test)]
mod tests;
