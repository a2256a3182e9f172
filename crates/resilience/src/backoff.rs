//! The wait before the next attempt: exponential backoff with full jitter.
//!
//! Full jitter (a uniform choice between zero and the exponential bound) spreads the retries of many clients best; see
//! "Exponential Backoff and Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// Bounds of the wait. The bound starts at `base`, doubles with each attempt, and stops at `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// `base` is the bound before the second attempt; it is limited to `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self { base: base.min(cap), cap }
    }

    /// The longest wait before attempt `attempt + 1` (attempts count from 1).
    pub fn bound(self, attempt: u32) -> Duration {
        let doubled = 2u32.checked_pow(attempt.saturating_sub(1)).and_then(|factor| self.base.checked_mul(factor));
        doubled.unwrap_or(self.cap).min(self.cap)
    }

    /// The wait after attempt `attempt`; `chance` is uniform in 0.0..1.0.
    pub fn delay(self, attempt: u32, chance: f64) -> Duration {
        self.bound(attempt).mul_f64(chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_delay_stays_within_its_bound_and_the_bound_within_the_cap(attempt in 0u32..200, chance in 0.0f64..1.0, base in 0u64..1_000, cap in 0u64..10_000) {
            let backoff = Backoff::new(Duration::from_millis(base), Duration::from_millis(cap));
            prop_assert!(backoff.delay(attempt, chance) <= backoff.bound(attempt));
            prop_assert!(backoff.bound(attempt) <= Duration::from_millis(cap));
        }
    }

    #[test]
    fn the_bound_doubles() {
        let backoff = Backoff::new(Duration::from_millis(2), Duration::from_millis(7));
        let bounds: Vec<u128> = (1..=4).map(|attempt| backoff.bound(attempt).as_millis()).collect();
        assert_eq!(bounds, [2, 4, 7, 7]);
    }
}
