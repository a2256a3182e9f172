//! Whether a run says something about the server, and what has to be known before its numbers are used.

use super::condition::Condition;
use super::{Generator, LatencyTable, Outcome, Report, Verdict};
use crate::outcome::ErrorClass;

/// At this share of a core an arriving answer finds the generator busy nine times out of ten: what is measured is the
/// generator's queue.
const MAX_CPU_SHARE: f64 = 0.9;
/// A thread that was running or ready to run for that much of the time had always something left to do: the machine gave
/// it too little, and it was the bottleneck with less than a core.
const MAX_BUSY_SHARE: f64 = 0.95;
/// The generator's own delay is what latency (from the planned time) has more than service time (from the actual one).
/// More than a tenth of a percentile is too much…
const MAX_DELAY_SHARE: f64 = 0.1;
/// … unless it is within the promised accuracy.
const FREE_DELAY_MS: f64 = 1.0;
/// Above this share of time without a core the machine is worth a remark.
const MAX_WAITING_SHARE: f64 = 0.1;
/// In less time than this a share of CPU time is chance: the start of a run is always busy.
const MIN_JUDGED_S: f64 = 1.0;
/// Below this share of the planned rate it counts as missed.
const MIN_RATE_SHARE: f64 = 0.99;

pub(super) fn is_saturated(generator: &Generator, latency: &LatencyTable) -> bool {
    generator.measured_s >= MIN_JUDGED_S && (is_busy(generator) || own_delay(latency).is_some())
}

fn is_busy(generator: &Generator) -> bool {
    let ready = generator.cpu_share + generator.waiting_share.unwrap_or(0.0);
    generator.cpu_share >= MAX_CPU_SHARE || ready >= MAX_BUSY_SHARE
}

/// The percentile that the generator's own delay distorts, with its latency and its service time.
fn own_delay(latency: &LatencyTable) -> Option<(&'static str, f64, f64)> {
    let (all, service) = (latency.all.as_ref()?, latency.service.as_ref()?);
    let percentiles =
        [("p50", all.p50_ms, service.p50_ms), ("p95", all.p95_ms, service.p95_ms), ("p99", all.p99_ms, service.p99_ms)];
    percentiles.into_iter().find(|(_, latency, service)| {
        let delay = latency - service;
        delay > FREE_DELAY_MS && delay > MAX_DELAY_SHARE * latency
    })
}

pub(super) fn pending() -> Verdict {
    Verdict { outcome: Outcome::Held, invalid: Vec::new(), notes: Vec::new(), conditions: Vec::new() }
}

/// The verdict without any conditions; those are added by [`Report::judge`].
pub(super) fn of(report: &Report, was_cancelled: bool, was_finished_early: bool) -> Verdict {
    let mut verdict = pending();
    verdict.invalid = faults(report);
    verdict.notes = notes(report, was_finished_early);
    verdict.outcome = match (was_cancelled, verdict.invalid.is_empty()) {
        (true, _) => Outcome::Interrupted,
        (false, false) => Outcome::Invalid,
        (false, true) => Outcome::Held,
    };
    verdict
}

fn faults(report: &Report) -> Vec<String> {
    let Report { summary, generator, .. } = report;
    let mut faults = Vec::new();
    if generator.saturated {
        let percent = |share: f64| format!("{:.0} %", share * 100.0);
        let (cpu, waiting) = (percent(generator.cpu_share), percent(generator.waiting_share.unwrap_or(0.0)));
        faults.push(match own_delay(&report.latency) {
            Some((name, latency, service)) if !is_busy(generator) => format!(
                "generator saturated: it could not send on time, so that {name} is {latency:.1} ms from the planned and \
                 {service:.1} ms from the actual send time, at {cpu} of a core; give it a core of its own, or lower the rate"
            ),
            _ => format!(
                "generator saturated: it used {cpu} of a core and waited for one {waiting} of the time; use more --threads or \
                 fewer --connections, or leave it more of the machine"
            ),
        });
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

fn notes(report: &Report, was_finished_early: bool) -> Vec<String> {
    let Report { summary, generator, plan, .. } = report;
    let mut notes = Vec::new();
    if was_finished_early {
        notes.push("ended before its plan was, on request; what was sent was waited for".to_owned());
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
    if generator.measured_s < MIN_JUDGED_S {
        notes.push("shorter than a second: too short to tell whether the generator was the bottleneck".to_owned());
    }
    if let Some(waiting) = generator.waiting_share
        && waiting > MAX_WAITING_SHARE
        && generator.measured_s >= MIN_JUDGED_S
    {
        notes
            .push(format!("the generator waited for a core {:.0} % of the time: the machine is busy", waiting * 100.0));
    }
    if summary.retries > 0 {
        notes.push(format!("{} retries: the server got {} requests", summary.retries, summary.sent + summary.retries));
    }
    notes
}

impl Report {
    /// Adds the results of `conditions`; one that is met makes a valid run a deviation.
    pub fn judge(&mut self, conditions: &[Condition]) {
        let results: Vec<_> = conditions.iter().map(|condition| condition.check(&self.summary)).collect();
        if self.verdict.outcome == Outcome::Held && results.iter().any(|result| result.failed) {
            self.verdict.outcome = Outcome::Deviated;
        }
        self.verdict.conditions = results;
    }
}

impl Outcome {
    /// What `load run` exits with.
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
mod tests {
    use super::*;
    use crate::report::LatencyStats;

    fn latency(p99_ms: f64, service_p99_ms: f64) -> LatencyTable {
        let stats = |p99_ms| LatencyStats {
            count: 1,
            mean_ms: 0.2,
            min_ms: 0.2,
            p50_ms: 0.2,
            p90_ms: 0.2,
            p95_ms: 0.2,
            p99_ms,
            p99_9_ms: p99_ms,
            max_ms: p99_ms,
        };
        LatencyTable { all: Some(stats(p99_ms)), succeeded: None, failed: None, service: Some(stats(service_p99_ms)) }
    }

    #[test]
    fn a_busy_or_late_generator_is_saturated_and_a_short_run_is_not_judged() {
        for (saturated, cpu_share, waiting_share, measured_s, p99, service_p99) in [
            (true, 0.95, 0.0, 10.0, 5.0, 5.0),
            (true, 0.6, 0.38, 10.0, 5.0, 5.0),
            (false, 0.6, 0.2, 10.0, 5.0, 5.0),
            (false, 0.95, 0.0, 0.1, 5.0, 5.0),
            (true, 0.3, 0.0, 10.0, 100.0, 80.0),
            (false, 0.3, 0.0, 0.1, 100.0, 80.0),
            (false, 0.3, 0.0, 10.0, 900.0, 880.0),
            (false, 0.3, 0.0, 10.0, 1.0, 0.1),
        ] {
            let generator = Generator {
                cpu_share,
                waiting_share: Some(waiting_share),
                lag_p99_ms: None,
                measured_s,
                saturated: false,
                warmup_requests: 0,
            };
            let is = is_saturated(&generator, &latency(p99, service_p99));
            assert_eq!(is, saturated, "{generator:?} {p99} {service_p99}");
        }
    }
}
