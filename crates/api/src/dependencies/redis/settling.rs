//! The moment after Redis was away or refused writes: what it holds may be older than what clients were told.
//!
//! # In the order of time
//! ## Trouble
//! The prober, or a command, saw that Redis does not answer or refuses writes. It goes on being asked, so that the
//! breaker hears of it; an answer that comes before the prober has seen it well is not used.
//! ## Settling
//! It takes writes again. Each replica tells it now of the writes that it missed, with its prober's next turn. For
//! [`GRACE`] from here on nothing is read from it: a replica that missed nothing itself would serve what another has
//! not repaired yet.
//! ## Settled
//! It is read as ever.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Longer than a prober's turn (`PROBE_INTERVAL`, 500 ms) and the repair of a few thousand entries; with the turn
/// before it shorter than the 2 s within which the cache is promised to be back.
const GRACE: Duration = Duration::from_millis(750);

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Settling {
    start: Instant,
    /// Whether there is trouble that was not there at the start.
    trouble: AtomicBool,
    /// Microseconds after `start` until which it settles; 0: settled.
    until: AtomicU64,
}

impl Settling {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, trouble: AtomicBool::new(false), until: AtomicU64::new(0) }
    }

    /// It does not answer, or refuses writes.
    pub(super) fn trouble(&self) {
        self.until.store(u64::MAX, Ordering::Relaxed);
        self.trouble.store(true, Ordering::Relaxed);
    }

    /// It takes writes.
    pub(super) fn recovered(&self, now: Instant) {
        if self.trouble.swap(false, Ordering::Relaxed) {
            self.until.store(self.micros(now + GRACE), Ordering::Relaxed);
        } else if self.until.load(Ordering::Relaxed) <= self.micros(now) {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether it may be read. In good times this costs one load.
    pub(super) fn is_over(&self, now: impl FnOnce() -> Instant) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        until == 0 || until <= self.micros(now())
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_settles_for_its_grace_after_trouble_and_not_at_the_start() {
        let start = Instant::now();
        let settling = Settling::new(start);
        settling.recovered(start);
        assert!(settling.is_over(|| start), "there was no trouble yet");
        settling.trouble();
        assert!(!settling.is_over(|| start + Duration::from_secs(3_600)), "as long as the trouble lasts");
        let recovered = start + Duration::from_secs(10);
        settling.recovered(recovered);
        settling.recovered(recovered + GRACE / 2);
        assert!(!settling.is_over(|| recovered + GRACE - Duration::from_millis(1)));
        assert!(settling.is_over(|| recovered + GRACE));
        settling.recovered(recovered + GRACE);
        assert!(settling.is_over(|| start), "settled: the clock is not asked any more");
    }
}
