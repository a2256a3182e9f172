//! Until when entries may be served: a short time after the last heartbeat that Redis has answered was sent.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::LEASE;

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Lease {
    start: Instant,
    /// Microseconds after `start` at which the last answered heartbeat was sent, or one of the two below.
    heard: AtomicU64,
}

/// Redis does not report changes.
const DEAF: u64 = u64::MAX;
/// Redis reports changes, and has not answered a heartbeat yet.
const LISTENING: u64 = u64::MAX - 1;

impl Lease {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, heard: AtomicU64::new(DEAF) }
    }

    /// Redis reports changes from now on.
    pub(super) fn listen(&self) {
        self.heard.store(LISTENING, Ordering::Release);
    }

    /// The heartbeat that was sent at that time is answered.
    pub(super) fn extend(&self, sent: Instant) {
        self.heard.store(self.micros(sent), Ordering::Release);
    }

    /// Redis no longer reports changes.
    pub(super) fn end(&self) {
        self.heard.store(DEAF, Ordering::Release);
    }

    /// Whether changes are reported. Entries inserted in the meantime are served once the lease holds.
    pub(super) fn is_listening(&self) -> bool {
        self.heard.load(Ordering::Relaxed) != DEAF
    }

    /// Whether entries may be served. The load synchronizes with [`Lease::extend`], so an entry that was removed before
    /// the heartbeat was answered is not found afterwards.
    pub(super) fn holds(&self, now: Instant) -> bool {
        let heard = self.heard.load(Ordering::Acquire);
        heard < LISTENING && self.micros(now).saturating_sub(heard) < LEASE.as_micros() as u64
    }

    fn micros(&self, at: Instant) -> u64 {
        let since: Duration = at.saturating_duration_since(self.start);
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX).min(LISTENING - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_sending_of_an_answered_heartbeat_and_ends_with_the_connection() {
        let start = Instant::now();
        let lease = Lease::new(start);
        assert!(!lease.holds(start) && !lease.is_listening(), "nothing was heard yet");
        lease.listen();
        assert!(!lease.holds(start) && lease.is_listening(), "connected, and nothing was answered yet");
        let sent = start + Duration::from_secs(1);
        lease.extend(sent);
        assert!(lease.holds(sent) && lease.holds(sent + LEASE - Duration::from_micros(1)));
        assert!(!lease.holds(sent + LEASE), "also when the answer came late");
        assert!(lease.is_listening(), "a late answer extends it");
        lease.extend(sent + LEASE);
        assert!(lease.holds(sent + LEASE));
        lease.end();
        assert!(!lease.holds(sent + LEASE) && !lease.is_listening());
    }
}
