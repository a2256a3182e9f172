//! Slices added up: over the workers for each step of the series, over the steps for the whole run.

use std::collections::BTreeMap;

use crate::latencies::Latencies;
use crate::outcome::{CacheResult, ErrorClass};
use crate::record::Slice;

#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) late: u64,
    pub(crate) retries: u64,
    pub(crate) succeeded: u64,
    /// At the end of the time it covers.
    pub(crate) in_flight: u64,
    /// By status and problem code, which is empty where there was none.
    pub(crate) statuses: BTreeMap<(u16, String), u64>,
    pub(crate) errors: [u64; ErrorClass::ALL.len()],
    pub(crate) instances: BTreeMap<String, u64>,
    pub(crate) cache: [u64; CacheResult::ALL.len()],
    pub(crate) good: Latencies,
    pub(crate) bad: Latencies,
    pub(crate) service: Option<Latencies>,
    pub(crate) lag: Option<Latencies>,
}

impl Tally {
    pub(crate) fn new(is_open_loop: bool) -> Self {
        Self {
            sent: 0,
            dropped: 0,
            late: 0,
            retries: 0,
            succeeded: 0,
            in_flight: 0,
            statuses: BTreeMap::new(),
            errors: [0; _],
            instances: BTreeMap::new(),
            cache: [0; _],
            good: Latencies::new(),
            bad: Latencies::new(),
            service: is_open_loop.then(Latencies::new),
            lag: is_open_loop.then(Latencies::new),
        }
    }

    /// Adds another worker's slice of the same time.
    pub(crate) fn add_slice(&mut self, slice: &Slice) {
        let name = |index: usize| slice.labels.get(index).map_or_else(String::new, |name| name.to_string());
        let tally = Self {
            sent: slice.sent,
            dropped: slice.dropped,
            late: slice.late,
            retries: slice.retries,
            succeeded: slice.succeeded,
            in_flight: slice.in_flight,
            statuses: slice.statuses.iter().map(|((s, code), n)| ((*s, name(code.index())), *n)).collect(),
            errors: slice.errors,
            instances: slice.instances.iter().map(|(label, n)| (name(label.index()), *n)).collect(),
            cache: slice.cache,
            good: slice.good.clone(),
            bad: slice.bad.clone(),
            service: slice.service.clone(),
            lag: slice.lag.clone(),
        };
        self.add(&tally);
        self.in_flight += tally.in_flight;
    }

    /// Adds the time that follows. What is in flight is a level and not a count: it stays the caller's to set.
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.dropped += other.dropped;
        self.late += other.late;
        self.retries += other.retries;
        self.succeeded += other.succeeded;
        for (key, count) in &other.statuses {
            *self.statuses.entry(key.clone()).or_default() += count;
        }
        for (key, count) in &other.instances {
            *self.instances.entry(key.clone()).or_default() += count;
        }
        for (sum, count) in self.errors.iter_mut().zip(other.errors) {
            *sum += count;
        }
        for (sum, count) in self.cache.iter_mut().zip(other.cache) {
            *sum += count;
        }
        self.good.add(&other.good);
        self.bad.add(&other.bad);
        for (sum, more) in [(&mut self.service, &other.service), (&mut self.lag, &other.lag)] {
            if let (Some(sum), Some(more)) = (sum, more) {
                sum.add(more);
            }
        }
    }

    pub(crate) fn answered(&self) -> u64 {
        self.statuses.values().sum()
    }

    pub(crate) fn unanswered(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Of everything that ended, well or not.
    pub(crate) fn latencies(&self) -> Latencies {
        let mut all = self.good.clone();
        all.add(&self.bad);
        all
    }
}
