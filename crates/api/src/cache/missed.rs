//! Writes that Redis missed: the ids whose entries may be older than an acknowledged write.
//!
//! # In the order of time
//! ## Missed
//! A write was committed, and its entry could neither be replaced nor deleted. From now on this replica reads the id
//! from Postgres.
//! ## Repaired
//! As soon as Redis takes writes again (the prober detects it within half a second), each entry is put on hold and a
//! new generation of pages begins. Then the id is removed from the list.
//!
//! Limits: other replicas may serve the old entry until it is repaired. If this replica stops before the repair, they
//! serve it for its fresh time (`CACHE_FRESH`). At most [`MOST`] ids are stored. Beyond that this replica reads
//! everything from Postgres until the repair, and the entries of the ids that were not stored end with their fresh
//! time.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus::IntGauge;

use crate::metrics::Metrics;

/// The writes of ten seconds at a thousand per second; 160 KiB.
const MOST: usize = 10_000;

/// See the [module documentation](self).
#[derive(Debug)]
pub struct MissedWrites {
    /// Whether there are any. Without missed writes a read only loads this flag.
    any: AtomicBool,
    state: Mutex<State>,
    gauge: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    /// The ids, each with the sequence number of its last miss.
    ids: HashMap<i64, u64>,
    misses: u64,
    overflowed: bool,
}

impl MissedWrites {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { any: AtomicBool::new(false), state: Mutex::default(), gauge: metrics.cache_missed_writes.clone() }
    }

    /// Records that Redis missed a write of `id`.
    pub(super) fn add(&self, id: i64) {
        let mut state = self.lock();
        state.misses += 1;
        let miss = state.misses;
        if state.ids.len() < MOST || state.ids.contains_key(&id) {
            state.ids.insert(id, miss);
        } else {
            state.overflowed = true;
        }
        self.show(&state);
    }

    /// Whether the entry of `id` may be older than an acknowledged write.
    pub(super) fn concerns(&self, id: i64) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let state = self.lock();
        state.overflowed || state.ids.contains_key(&id)
    }

    /// Whether there are any.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// The ids to repair now.
    pub(super) fn all(&self) -> Vec<(i64, u64)> {
        self.lock().ids.iter().map(|(id, miss)| (*id, *miss)).collect()
    }

    /// Removes the repaired ids, except those with a later miss.
    pub(super) fn repaired(&self, repaired: &[(i64, u64)]) {
        let mut state = self.lock();
        for (id, miss) in repaired {
            if state.ids.get(id) == Some(miss) {
                state.ids.remove(id);
            }
        }
        if state.ids.is_empty() {
            state.overflowed = false;
        }
        self.show(&state);
    }

    fn show(&self, state: &State) {
        self.any.store(!state.ids.is_empty() || state.overflowed, Ordering::Release);
        self.gauge.set(i64::try_from(state.ids.len()).unwrap_or(i64::MAX));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_concerned_until_it_is_repaired_and_all_are_when_there_are_too_many() {
        let missed = MissedWrites::new(&Metrics::new().expect("names are right"));
        assert!(!missed.concerns(1) && !missed.any());
        missed.add(1);
        assert!(missed.concerns(1) && !missed.concerns(2));
        let before = missed.all();
        missed.add(1);
        missed.repaired(&before);
        assert!(missed.concerns(1), "missed again since");
        missed.repaired(&missed.all());
        assert!(!missed.concerns(1) && !missed.any());
        for id in 0..=MOST as i64 {
            missed.add(id);
        }
        assert!(missed.concerns(i64::MAX), "one that was not remembered could be any");
        missed.repaired(&missed.all());
        assert!(!missed.concerns(i64::MAX));
    }
}
