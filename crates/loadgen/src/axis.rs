//! The recorded data of a run: planned time in steps, with a [`Tally`] for each step. The summary, the series and every
//! window are sums over it.
//!
//! The number of steps is bounded. When a run exceeds it, neighbouring steps are merged and the interval doubles.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::tally::Tally;

/// Two hours in seconds. It limits the data in memory and in the file to about ten megabytes.
const MAX_STEPS: u64 = 7_200;
/// A run ends a moment after its last full step. A remainder shorter than this share of a step is added to the step
/// before it, because a rate over so short a time would look like a collapse.
const MIN_REST: f64 = 0.25;

#[derive(Clone, Debug)]
pub(crate) struct Axis {
    interval: Duration,
    /// The number of the workers' steps in one of these.
    factor: u64,
    steps: BTreeMap<u64, Step>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    pub(crate) tally: Tally,
    /// Requests in flight at the end of the step, in real time.
    pub(crate) in_flight: u64,
}

/// A step of the finished series.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) at: Duration,
    pub(crate) length: Duration,
    pub(crate) step: Step,
}

impl Axis {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, factor: 1, steps: BTreeMap::new() }
    }

    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Adds a worker's tally of the requests planned in step `index`, in the workers' numbering of steps.
    pub(crate) fn add(&mut self, index: u64, tally: &Tally) {
        self.step(index).tally.add(tally);
    }

    /// Records how many requests were in flight at the end of step `index`.
    pub(crate) fn set_in_flight(&mut self, index: u64, in_flight: u64) {
        self.step(index).in_flight = in_flight;
    }

    fn step(&mut self, index: u64) -> &mut Step {
        while index / self.factor >= MAX_STEPS {
            self.coarsen();
        }
        self.steps.entry(index / self.factor).or_default()
    }

    fn coarsen(&mut self) {
        self.interval *= 2;
        self.factor *= 2;
        for (index, step) in std::mem::take(&mut self.steps) {
            let joined = self.steps.entry(index / 2).or_default();
            joined.tally.add(&step.tally);
            joined.in_flight = step.in_flight;
        }
    }

    /// The sum of all steps.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.steps.values().for_each(|step| total.add(&step.tally));
        total
    }

    /// The steps of a run that took `elapsed`, without gaps: a step in which nothing was planned is included, and
    /// empty.
    pub(crate) fn spans(&self, elapsed: Duration) -> Vec<Span> {
        let shares = elapsed.as_secs_f64() / self.interval.as_secs_f64();
        let mut count = (shares - MIN_REST).ceil().max(0.0) as u64;
        if let Some((last, _)) = self.steps.iter().rfind(|(_, step)| step.tally.planned() > 0) {
            // Requests planned at the very end may lie beyond the last full step.
            let past_end = *last as f64 >= shares.ceil();
            count = if past_end { last + 1 } else { count.max(1) };
        }
        let mut spans: Vec<Span> = (0..count)
            .map(|index| Span {
                at: self.interval * index as u32,
                length: self.interval,
                step: self.steps.get(&index).cloned().unwrap_or_default(),
            })
            .collect();
        if let Some(last) = spans.last_mut() {
            for (_, step) in self.steps.range(count..) {
                last.step.tally.add(&step.tally);
                last.step.in_flight = step.in_flight;
            }
            last.length = elapsed.saturating_sub(last.at).max(Duration::from_millis(1));
        }
        spans
    }
}

/// The sum of all steps that begin in `window`, and the time they cover.
pub(crate) fn sum<'a>(
    spans: impl Iterator<Item = (f64, f64, &'a Tally)>,
    window: Range<f64>,
) -> Option<(Tally, Range<f64>)> {
    let mut found: Option<(Tally, Range<f64>)> = None;
    for (at, length, tally) in spans.filter(|(at, ..)| window.contains(at)) {
        let (sum, covered) = found.get_or_insert_with(|| (Tally::default(), at..at));
        sum.add(tally);
        covered.end = at + length;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn axis(steps: u64) -> Axis {
        let mut axis = Axis::new(SECOND);
        for index in 0..steps {
            axis.add(index, &Tally { sent: 10, ..Tally::default() });
            axis.set_in_flight(index, index);
        }
        axis
    }

    /// The beginning, length and number of requests of each step, each of which sent ten.
    fn spans(steps: u64, elapsed: Duration) -> Vec<(f64, f64, u64)> {
        let spans = axis(steps).spans(elapsed);
        spans.iter().map(|span| (span.at.as_secs_f64(), span.length.as_secs_f64(), span.step.tally.sent)).collect()
    }

    #[test]
    fn a_short_rest_joins_the_step_before_it_and_gaps_are_filled() {
        assert_eq!(spans(3, SECOND.mul_f64(2.01)), [(0.0, 1.0, 10), (1.0, 1.01, 20)]);
        assert_eq!(spans(3, SECOND.mul_f64(2.5)), [(0.0, 1.0, 10), (1.0, 1.0, 10), (2.0, 0.5, 10)]);
        assert_eq!(spans(1, SECOND.mul_f64(0.07)), [(0.0, 0.07, 10)]);
        assert_eq!(spans(1, SECOND * 3), [(0.0, 1.0, 10), (1.0, 1.0, 0), (2.0, 1.0, 0)], "answers that come late");
        assert_eq!(spans(0, Duration::ZERO), []);
    }

    #[test]
    fn a_long_run_is_kept_in_longer_steps() {
        let axis = axis(MAX_STEPS * 4 + 1);
        assert_eq!(axis.interval(), SECOND * 8);
        assert!(axis.steps.len() as u64 <= MAX_STEPS);
        assert_eq!(axis.total().sent, (MAX_STEPS * 4 + 1) * 10);
        let spans = axis.spans(SECOND * (MAX_STEPS as u32 * 4 + 1));
        assert_eq!((spans[1].at, spans[1].step.tally.sent, spans[1].step.in_flight), (SECOND * 8, 80, 15));
        assert_eq!(spans.iter().map(|span| span.step.tally.sent).sum::<u64>(), axis.total().sent);
    }

    #[test]
    fn a_window_is_the_sum_of_the_steps_that_begin_in_it() {
        let spans = axis(5).spans(SECOND * 5);
        let list = || spans.iter().map(|span| (span.at.as_secs_f64(), span.length.as_secs_f64(), &span.step.tally));
        let (tally, covered) = sum(list(), 1.0..3.0).unwrap();
        assert_eq!((tally.sent, covered), (20, 1.0..3.0));
        assert_eq!(sum(list(), 0.5..1.5).unwrap().1, 1.0..2.0);
        assert!(sum(list(), 9.0..12.0).is_none());
    }
}
