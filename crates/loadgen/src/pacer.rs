//! Decides when the next request is sent: one rule for every mode.
//!
//! A [`Pacer`] uses neither clocks nor sockets. Given the time since the start, it returns a planned time, a time to
//! wait for, or the end. In a closed loop a request is always due; the only other difference is what happens when every
//! connection is busy ([`Pacer::when_full`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::curve::{Curve, CurveClock};

/// How arrivals are distributed within the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// At equal intervals.
    #[default]
    Even,
    /// Independent of each other, like the requests of many users: exponential intervals.
    Poisson,
}

impl Arrivals {
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        }
    }
}

/// The answer to "what is due?".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// One request, whose latency counts from `planned`.
    Now { planned: Duration },
    /// Nothing before this time.
    At(Duration),
    /// The plan is complete.
    Over,
}

/// What happens to a due request when no connection is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// A closed loop has as many users as connections: the next request waits until one of them has its answer.
    Wait,
    /// In an open loop users do not wait for each other: beyond the limit the request is dropped and counted.
    Drop,
}

#[derive(Clone, Debug)]
pub(crate) struct Pacer {
    mode: Mode,
    /// Requests left after the warm-up; `None` without a limit.
    left: Option<u64>,
    warmup: Duration,
}

#[derive(Clone, Debug)]
enum Mode {
    Closed { end: Option<Duration> },
    Open { schedule: Schedule, next: Option<Duration> },
}

impl Pacer {
    /// Always due, until `requests` were taken or `end` has passed. The warm-up comes before both.
    pub(crate) fn closed(requests: Option<u64>, length: Option<Duration>, warmup: Duration) -> Self {
        Self { mode: Mode::Closed { end: length.map(|length| warmup + length) }, left: requests, warmup }
    }

    /// Due by the schedule, independent of the server.
    pub(crate) fn open(mut schedule: Schedule, requests: Option<u64>, warmup: Duration) -> Self {
        let next = schedule.next();
        Self { mode: Mode::Open { schedule, next }, left: requests, warmup }
    }

    /// What is due when `elapsed` has passed since the start. Does not change the pacer.
    pub(crate) fn due(&self, elapsed: Duration) -> Due {
        if self.left == Some(0) {
            return Due::Over;
        }
        match &self.mode {
            Mode::Closed { end: Some(end) } if elapsed >= *end => Due::Over,
            Mode::Closed { .. } => Due::Now { planned: elapsed },
            Mode::Open { next: None, .. } => Due::Over,
            Mode::Open { next: Some(planned), .. } if *planned <= elapsed => Due::Now { planned: *planned },
            Mode::Open { next: Some(planned), .. } => Due::At(*planned),
        }
    }

    /// Takes the request that was due.
    pub(crate) fn take(&mut self, planned: Duration) {
        if planned >= self.warmup {
            self.left = self.left.map(|left| left.saturating_sub(1));
        }
        if let Mode::Open { schedule, next } = &mut self.mode {
            *next = schedule.next();
        }
    }

    /// The end of the schedule that was carried out: the planned time of the next arrival, or the end of the curve. A
    /// closed loop has no schedule.
    pub(crate) fn scheduled(&self) -> Duration {
        match &self.mode {
            Mode::Closed { .. } => Duration::ZERO,
            Mode::Open { schedule, next } => next.unwrap_or(schedule.length),
        }
    }

    pub(crate) fn when_full(&self) -> WhenFull {
        match self.mode {
            Mode::Closed { .. } => WhenFull::Wait,
            Mode::Open { .. } => WhenFull::Drop,
        }
    }
}

/// The planned times of an open loop, in order: a function of curve, spread and seed only.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    clock: CurveClock,
    arrivals: Arrivals,
    chance: fastrand::Rng,
    /// The area under the curve at which the next arrival is due.
    area: f64,
    share: Share,
    skip: u64,
    length: Duration,
}

/// One worker's part of the schedule: every `of`-th arrival, beginning with number `index`. All workers compute the
/// same schedule, so it does not depend on their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    pub(crate) index: u64,
    pub(crate) of: u64,
}

impl Schedule {
    pub(crate) fn new(curve: &Curve, arrivals: Arrivals, seed: u64, share: Share) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let area = match arrivals {
            Arrivals::Even => 0.0,
            Arrivals::Poisson => exponential(&mut chance),
        };
        Self { clock: curve.clock(), arrivals, chance, area, share, skip: share.index, length: curve.length() }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        loop {
            let when = self.clock.when(self.area)?;
            self.area += match self.arrivals {
                Arrivals::Even => 1.0,
                Arrivals::Poisson => exponential(&mut self.chance),
            };
            if self.skip == 0 {
                self.skip = self.share.of - 1;
                return Some(when);
            }
            self.skip -= 1;
        }
    }
}

/// An interval with mean 1. `1 - f64()` is never zero, so the logarithm is finite.
fn exponential(chance: &mut fastrand::Rng) -> f64 {
    -(1.0 - chance.f64()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ALL: Share = Share { index: 0, of: 1 };

    fn schedule(rate: f64, seconds: u64, arrivals: Arrivals, seed: u64, share: Share) -> Schedule {
        Schedule::new(&Curve::constant(rate, SECOND * seconds as u32).unwrap(), arrivals, seed, share)
    }

    #[test]
    fn a_closed_loop_is_always_due_until_its_count() {
        let mut pacer = Pacer::closed(Some(2), None, Duration::ZERO);
        for at in [Duration::ZERO, SECOND] {
            assert_eq!(pacer.due(at), Due::Now { planned: at });
            pacer.take(at);
        }
        assert_eq!(pacer.due(SECOND), Due::Over);
        assert_eq!(pacer.when_full(), WhenFull::Wait);
    }

    #[test]
    fn a_closed_loop_ends_in_time_and_the_warm_up_is_on_top() {
        let mut pacer = Pacer::closed(Some(1), Some(SECOND), SECOND);
        pacer.take(Duration::ZERO);
        assert_eq!(pacer.due(SECOND), Due::Now { planned: SECOND }, "the warm-up took nothing from the count");
        assert_eq!(pacer.due(SECOND * 2), Due::Over);
    }

    #[test]
    fn an_open_loop_keeps_its_plan_when_it_is_late() {
        let mut pacer = Pacer::open(schedule(10.0, 1, Arrivals::Even, 1, ALL), None, Duration::ZERO);
        let mut planned = Vec::new();
        // After half a second without a call, the due requests come at once, each with its own planned time.
        while let Due::Now { planned: at } = pacer.due(Duration::from_millis(500)) {
            planned.push(at.as_millis());
            pacer.take(at);
        }
        assert_eq!(planned, [0, 100, 200, 300, 400, 500]);
        assert_eq!(pacer.due(Duration::from_millis(500)), Due::At(Duration::from_millis(600)));
        assert_eq!(pacer.when_full(), WhenFull::Drop);
    }

    #[test]
    fn the_workers_shares_are_the_whole_schedule() {
        for arrivals in [Arrivals::Even, Arrivals::Poisson] {
            let whole: Vec<_> = schedule(100.0, 3, arrivals, 7, ALL).collect();
            let mut parts: Vec<_> =
                (0..3).flat_map(|index| schedule(100.0, 3, arrivals, 7, Share { index, of: 3 })).collect();
            parts.sort_unstable();
            assert_eq!(whole, parts);
        }
    }

    #[test]
    fn poisson_arrivals_have_the_rate_and_the_spread_of_chance() {
        let times: Vec<f64> = schedule(1_000.0, 60, Arrivals::Poisson, 42, ALL).map(|d| d.as_secs_f64()).collect();
        assert!((times.len() as f64 - 60_000.0).abs() < 1_000.0, "4 standard deviations: {}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.05, "an exponential's deviation is its mean");
        assert_eq!(
            times,
            schedule(1_000.0, 60, Arrivals::Poisson, 42, ALL).map(|d| d.as_secs_f64()).collect::<Vec<_>>()
        );
    }
}
