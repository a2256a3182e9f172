//! A token bucket: at most `rate` requests per second, with a small burst.
//!
//! # In the order of time
//! Each request calls [`RateLimit::try_take`] with the current time. The bucket is one number, the time at which it is
//! full again (the generic cell rate algorithm, ITU-T I.371), so that a call is one atomic operation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// Shared by all requests that count against the limit.
#[derive(Debug)]
pub struct RateLimit {
    start: Instant,
    /// Nanoseconds after `start` at which the bucket is full again.
    full_at: AtomicU64,
    /// Nanoseconds per token.
    interval: u64,
    /// Nanoseconds that the bucket holds.
    capacity: u64,
}

/// The bucket is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rate limit is reached")]
pub struct RateLimited {
    /// When the next token is available.
    pub retry_after: Duration,
}

impl RateLimit {
    /// `rate` requests per second (1..), of which `burst` (1..) may arrive at once.
    pub fn new(rate: u32, burst: u32, now: Instant) -> Self {
        let interval = 1_000_000_000 / u64::from(rate.max(1));
        Self { start: now, full_at: AtomicU64::new(0), interval, capacity: interval * u64::from(burst.max(1)) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// [`RateLimited`] with the wait for the next token; no token is taken.
    pub fn try_take(&self, now: Instant) -> Result<(), RateLimited> {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX / 2);
        let take = |full_at: u64| {
            let next = full_at.max(now) + self.interval;
            (next - now <= self.capacity).then_some(next)
        };
        self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|full_at| RateLimited {
            retry_after: Duration::from_nanos((full_at + self.interval).saturating_sub(now + self.capacity)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_window_passes_more_than_the_burst_and_the_rate(rate in 1u32..2_000, burst in 1u32..50, gaps in proptest::collection::vec(0u64..20_000, 1..400)) {
            let start = Instant::now();
            let limit = RateLimit::new(rate, burst, start);
            let (mut now, mut passed) = (start, 0u32);
            for gap in gaps {
                now += Duration::from_micros(gap);
                passed += u32::from(limit.try_take(now).is_ok());
            }
            let most = f64::from(burst) + (now - start).as_secs_f64() * f64::from(rate) * 1.001 + 1.0;
            prop_assert!(f64::from(passed) <= most, "{passed} passed, {most} allowed");
        }

        #[test]
        fn a_refused_request_passes_after_its_wait(rate in 1u32..2_000, burst in 1u32..50) {
            let start = Instant::now();
            let limit = RateLimit::new(rate, burst, start);
            let refused = loop {
                if let Err(refused) = limit.try_take(start) { break refused; }
            };
            prop_assert!(limit.try_take(start + refused.retry_after).is_ok());
        }
    }
}
