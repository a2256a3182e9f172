//! Whether a run says something about the server, and what has to be known before its numbers are used.

use super::condition::Condition;
use super::{Generator, Mode, Outcome, Report, Verdict};
use crate::outcome::ErrorClass;

/// At this share of a core an arriving answer finds the generator busy nine times out of ten: what is measured is the
/// generator's queue.
const MAX_CPU_SHARE: f64 = 0.9;
/// A generator's own delay is told apart from the server's latency as long as it stays below a tenth of it…
const MAX_LAG_SHARE: f64 = 0.1;
/// … and a delay up to the promised accuracy is none.
const FREE_LAG_MS: f64 = 1.0;
/// In less time than this a share of CPU time is chance: the start of a run is always busy.
const MIN_JUDGED_S: f64 = 1.0;
/// Below this share of the planned rate it counts as missed.
const MIN_RATE_SHARE: f64 = 0.99;

pub(super) fn is_saturated(generator: &Generator, p99_ms: Option<f64>) -> bool {
    generator.measured_s >= MIN_JUDGED_S && (generator.cpu_share >= MAX_CPU_SHARE || is_behind(generator, p99_ms))
}

fn is_behind(generator: &Generator, p99_ms: Option<f64>) -> bool {
    generator.lag_p99_ms.zip(p99_ms).is_some_and(|(lag, p99)| lag > FREE_LAG_MS && lag > MAX_LAG_SHARE * p99)
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
        let cpu = generator.cpu_share * 100.0;
        faults.push(match generator.lag_p99_ms {
            Some(lag) if generator.cpu_share < MAX_CPU_SHARE => format!(
                "generator saturated: it sent its requests up to {lag:.1} ms late (p99) at {cpu:.0} % of a core; give it a core of \
                 its own, or lower the rate"
            ),
            _ => format!("generator saturated: it used {cpu:.0} % of a core; use more --threads, or fewer --connections"),
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
        && waiting > MAX_LAG_SHARE
        && generator.measured_s >= MIN_JUDGED_S
    {
        notes
            .push(format!("the generator waited for a core {:.0} % of the time: the machine is busy", waiting * 100.0));
    }
    if plan.mode == Mode::Closed && summary.retries > 0 {
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

    fn generator(cpu_share: f64, lag_p99_ms: Option<f64>, measured_s: f64) -> Generator {
        Generator { cpu_share, waiting_share: None, lag_p99_ms, measured_s, saturated: false, warmup_requests: 0 }
    }

    #[test]
    fn a_busy_or_late_generator_is_saturated_and_a_short_run_is_not_judged() {
        for (saturated, cpu, lag, seconds, p99) in [
            (true, 0.95, None, 10.0, 5.0),
            (false, 0.95, None, 0.1, 5.0),
            (false, 0.5, None, 10.0, 5.0),
            (true, 0.3, Some(20.0), 10.0, 100.0),
            (false, 0.3, Some(20.0), 10.0, 900.0),
            (false, 0.3, Some(0.9), 10.0, 1.0),
        ] {
            assert_eq!(
                is_saturated(&generator(cpu, lag, seconds), Some(p99)),
                saturated,
                "{cpu} {lag:?} {seconds} {p99}"
            );
        }
    }
}
