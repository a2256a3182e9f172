//! The share of failed requests, in percentage points: a relative change is not meaningful when the base is zero.

use super::Finding;
use crate::report::Summary;
use crate::stats::Share;

/// A smaller difference in points is not reported, unless nothing failed before.
const MIN_POINTS: f64 = 0.01;

/// Failed requests of both sides. A dropped request is a failure, one in flight is not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failures {
    pub base: Share,
    pub new: Share,
    /// New minus base in percentage points, with its 95 % confidence interval.
    pub points: f64,
    pub interval: (f64, f64),
    pub finding: Finding,
}

impl Failures {
    pub(crate) fn new(base: &[Summary], new: &[Summary]) -> Self {
        let (base, new) = (share(base), share(new));
        let (points, low, high) = base.difference(new);
        let (points, interval) = (points * 100.0, (low * 100.0, high * 100.0));
        let finding = if base.whole == 0 || new.whole == 0 {
            Finding::Unjudged
        } else if (base.part == 0 && new.part > 0) || (interval.0 > 0.0 && points >= MIN_POINTS) {
            Finding::Worse
        } else if interval.1 < 0.0 && points <= -MIN_POINTS {
            Finding::Better
        } else {
            Finding::Same
        };
        Self { base, new, points, interval, finding }
    }
}

fn share(runs: &[Summary]) -> Share {
    let whole = |run: &Summary| run.planned - run.in_flight_at_end;
    Share { part: runs.iter().map(|run| whole(run) - run.succeeded).sum(), whole: runs.iter().map(whole).sum() }
}
