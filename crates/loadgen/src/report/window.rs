//! A part of a run: the results of the requests that were planned in it.

use std::collections::BTreeMap;

use super::build::{kinds, latency_table, statuses, words};
use super::{KindRecord, LatencyTable, Mode, Report, StatusCount, Summary};
use crate::axis;
use crate::tally::Tally;

/// The sum of whole steps of a run, or of several runs.
#[derive(Clone, Debug)]
pub struct Window {
    /// Its beginning and end, in seconds from the end of the warm-up: the bounds of the steps in it.
    pub from_s: f64,
    pub to_s: f64,
    /// Its length; after [`Window::add`] the length of all parts.
    pub seconds: f64,
    is_open: bool,
    kinds: Vec<String>,
    tally: Tally,
}

impl Report {
    /// All requests that were planned from `from_s` to before `to_s`, in seconds from the end of the warm-up, in whole
    /// steps: a step is included if it begins in this time. `None` if there is no such step.
    #[must_use]
    pub fn window(&self, from_s: f64, to_s: f64) -> Option<Window> {
        let steps = self.axis.iter().map(|step| (step.at_s, step.seconds, &step.requests));
        let (tally, covered) = axis::sum(steps, from_s..to_s)?;
        Some(Window {
            from_s: covered.start,
            to_s: covered.end,
            seconds: covered.end - covered.start,
            is_open: self.plan.mode == Mode::Open,
            kinds: self.kinds.iter().map(|kind| kind.name.clone()).collect(),
            tally,
        })
    }
}

impl Window {
    /// Adds a window of this or another run of the same plan. The bounds are extended to include both.
    pub fn add(&mut self, other: &Self) {
        self.from_s = self.from_s.min(other.from_s);
        self.to_s = self.to_s.max(other.to_s);
        self.seconds += other.seconds;
        self.tally.add(&other.tally);
    }

    /// The main numbers. Rates are per second of the window; the target rate is that of a whole run only.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.tally, self.seconds)
    }

    #[must_use]
    pub fn latency(&self) -> LatencyTable {
        latency_table(&self.tally, self.is_open)
    }

    #[must_use]
    pub fn kinds(&self) -> Vec<KindRecord> {
        kinds(&self.kinds, &self.tally)
    }

    #[must_use]
    pub fn statuses(&self) -> Vec<StatusCount> {
        statuses(&self.tally)
    }

    /// Requests without an answer, by the name of their class.
    #[must_use]
    pub fn errors(&self) -> BTreeMap<String, u64> {
        words(&self.tally.errors, |class| class.word())
    }

    /// Answers by `X-Instance`.
    #[must_use]
    pub fn instances(&self) -> &BTreeMap<String, u64> {
        &self.tally.instances
    }

    /// Answers by `Cache-Status`.
    #[must_use]
    pub fn cache(&self) -> BTreeMap<String, u64> {
        words(&self.tally.cache, |result| result.word())
    }
}
