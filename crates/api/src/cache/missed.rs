//! Writes of which Redis did not hear: the ids whose entries may be older than what a client was told.
//!
//! # In the order of time
//! ## Missed
//! A write was committed, and its entry could neither be replaced nor deleted. From now on this replica reads the id past
//! the cache.
//! ## Repaired
//! As soon as Redis takes writes again (the prober sees it within half a second), each entry is put on hold and a new
//! generation of pages begins; then the id is forgotten here.
//!
//! What remains: other replicas may serve the old entry until it is repaired, and for its fresh time (`CACHE_FRESH`) when
//! this replica ends before it could repair it. More than [`MOST`] at a time are not remembered one by one: then this
//! replica reads everything past the cache until the repair, and the entries of those that were not remembered end with
//! their fresh time.

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use prometheus::IntGauge;

use crate::metrics::Metrics;

/// Ten seconds of a thousand writes each second; 160 KiB.
const MOST: usize = 10_000;

/// See the module's documentation.
#[derive(Debug)]
pub struct MissedWrites {
    /// Whether there are any: all that a read looks at in good times.
    any: AtomicBool,
    state: Mutex<State>,
    gauge: IntGauge,
}

#[derive(Debug, Default)]
struct State {
    /// The ids, and which miss of all it was.
    ids: HashMap<i64, u64>,
    misses: u64,
    overflowed: bool,
}

impl MissedWrites {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self { any: AtomicBool::new(false), state: Mutex::default(), gauge: metrics.cache_missed_writes.clone() }
    }

    /// Redis did not hear of a write of `id`.
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

    /// Whether the entry of `id` may be older than what a client was told.
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

    /// Those that are to be repaired now.
    pub(super) fn all(&self) -> Vec<(i64, u64)> {
        self.lock().ids.iter().map(|(id, miss)| (*id, *miss)).collect()
    }

    /// Redis has heard of these, but not of what it missed since.
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
