//! The time series of a run, step by step. Only the last two steps are held as they are, since the rest of a step at the
//! end may still have to be joined to the one before it; all others are points already, however long the run.

use std::time::Duration;

use crate::report::Point;
use crate::tally::Tally;

/// A run ends a moment after its last full step, when the last answers come. A rest shorter than this share of a step is
/// added to the step before it, since a rate over so short a time would look like a collapse.
const MIN_REST: f64 = 0.25;

#[derive(Debug)]
pub(crate) struct Series {
    interval: Duration,
    points: Vec<Point>,
    before: Option<(u64, Tally)>,
    last: Option<(u64, Tally)>,
}

impl Series {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, points: Vec::new(), before: None, last: None }
    }

    pub(crate) fn push(&mut self, index: u64, step: Tally) {
        if let Some((index, step)) = self.before.take() {
            self.points.push(Point::new(index, self.interval, self.interval, &step));
        }
        self.before = self.last.replace((index, step));
    }

    /// All points of a run that took `elapsed`.
    pub(crate) fn finish(mut self, elapsed: Duration) -> Vec<Point> {
        let Some((mut index, mut last)) = self.last else { return self.points };
        if let Some((earlier, before)) = self.before {
            if elapsed < self.interval.mul_f64(index as f64 + MIN_REST) {
                let in_flight = last.in_flight;
                index = earlier;
                last.add(&before);
                last.in_flight = in_flight;
            } else {
                self.points.push(Point::new(earlier, self.interval, self.interval, &before));
            }
        }
        let length = elapsed.saturating_sub(self.interval.mul_f64(index as f64));
        self.points.push(Point::new(index, self.interval, length, &last));
        self.points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The begin, length and number of requests of each step, each of which sent ten.
    fn series(steps: u64, elapsed: Duration) -> Vec<(f64, f64, u64)> {
        let mut series = Series::new(SECOND);
        for index in 0..steps {
            let mut step = Tally::new(false);
            step.sent = 10;
            step.in_flight = index;
            series.push(index, step);
        }
        let points = series.finish(elapsed);
        assert_eq!(points.last().map_or(0, |point| point.in_flight), steps.saturating_sub(1));
        points.iter().map(|point| (point.at_s, point.seconds, point.sent)).collect()
    }

    #[test]
    fn a_short_rest_joins_the_step_before_it() {
        assert_eq!(series(3, SECOND.mul_f64(2.01)), [(0.0, 1.0, 10), (1.0, 1.01, 20)]);
        assert_eq!(series(3, SECOND.mul_f64(2.5)), [(0.0, 1.0, 10), (1.0, 1.0, 10), (2.0, 0.5, 10)]);
        assert_eq!(series(1, SECOND.mul_f64(0.07)), [(0.0, 0.07, 10)]);
        assert_eq!(series(0, SECOND), []);
    }
}
