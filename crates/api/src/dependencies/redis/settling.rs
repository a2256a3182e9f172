//! The time after Redis was unavailable or refused writes, when its entries may be older than acknowledged writes.
//!
//! # In the order of time
//! ## Trouble
//! The prober, or a command, has found that Redis does not answer or refuses writes. Commands are still sent, so that
//! the breaker counts their results. An answer that arrives before the prober has seen Redis recover is not used.
//! ## Settling
//! Redis takes writes again. Each replica repairs the entries that Redis missed after its prober's next probe. For
//! [`GRACE`] from now on nothing is read from Redis: a replica without missed writes would serve entries that another
//! replica has not repaired yet.
//! ## Settled
//! Entries are read as usual.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Longer than a prober's interval (`PROBE_INTERVAL`, 500 ms) and the repair of a few thousand entries. Together with
/// the interval before it, shorter than the 2 s within which the cache must be usable again.
const GRACE: Duration = Duration::from_millis(750);

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Settling {
    start: Instant,
    /// Whether Redis has failed since the start and has not recovered.
    trouble: AtomicBool,
    /// Microseconds after `start` until which Redis settles; 0 when it has settled.
    until: AtomicU64,
}

impl Settling {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, trouble: AtomicBool::new(false), until: AtomicU64::new(0) }
    }

    /// Redis does not answer, or refuses writes.
    pub(super) fn trouble(&self) {
        self.until.store(u64::MAX, Ordering::Relaxed);
        self.trouble.store(true, Ordering::Relaxed);
    }

    /// Redis takes writes.
    pub(super) fn recovered(&self, now: Instant) {
        if self.trouble.swap(false, Ordering::Relaxed) {
            self.until.store(self.micros(now + GRACE), Ordering::Relaxed);
        } else if self.until.load(Ordering::Relaxed) <= self.micros(now) {
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Whether entries may be read. This costs one load when there was no failure.
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
