//! How long a request waited before this process began with it, from a time that another machine's clock gave.
//!
//! The clocks of two machines differ. So a request's age is compared with the smallest age of the last requests: the
//! difference of the clocks is part of both. A process that makes every request wait for longer than [`WINDOW`] takes that
//! for the difference of the clocks.
//!
//! # In the order of time
//! A request arrives: [`Waiting::observe`] takes its age, which may be negative, and returns how long it waited. The
//! smallest age of the current window and of the one before it is what a request without waiting has.

use std::{sync::Mutex, sync::PoisonError, time::Duration};

use tokio::time::Instant;

/// For at least so long, and at most twice as long, a smallest age counts. Longer than a process is paused or overloaded
/// without a pause for breath, short enough to follow a clock that is set.
pub const WINDOW: Duration = Duration::from_secs(10);

/// The smallest ages. Ages are microseconds.
#[derive(Debug)]
pub struct Waiting(Mutex<Windows>);

#[derive(Debug)]
struct Windows {
    began: Instant,
    current: i64,
    previous: i64,
}

impl Waiting {
    /// Nothing has been observed.
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Windows { began: now, current: i64::MAX, previous: i64::MAX }))
    }

    /// How long a request of this age waited. The first one has not waited, as far as is known.
    pub fn observe(&self, now: Instant, age_us: i64) -> Duration {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = now.saturating_duration_since(windows.began);
        if gone >= WINDOW {
            // After a gap of two windows nothing that was observed counts.
            windows.previous = if gone < 2 * WINDOW { windows.current } else { i64::MAX };
            windows.current = i64::MAX;
            windows.began = now;
        }
        windows.current = windows.current.min(age_us);
        let least = windows.current.min(windows.previous);
        Duration::from_micros(age_us.saturating_sub(least).unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_difference_of_the_clocks_makes_no_difference(
            ages in prop::collection::vec((0_u64..5_000, 0_i64..2_000_000), 1..60), ahead in -3_600_000_000_i64..3_600_000_000,
        ) {
            let start = Instant::now();
            let (here, there) = (Waiting::new(start), Waiting::new(start));
            let mut now = start;
            for (pause, age) in ages {
                now += Duration::from_millis(pause);
                prop_assert_eq!(here.observe(now, age), there.observe(now, age + ahead));
            }
        }

        #[test]
        fn nothing_waited_longer_than_its_age(ages in prop::collection::vec(0_i64..2_000_000, 1..60)) {
            let now = Instant::now();
            let waiting = Waiting::new(now);
            for age in ages {
                prop_assert!(waiting.observe(now, age) <= Duration::from_micros(age.unsigned_abs()));
            }
        }
    }

    #[test]
    fn what_lay_in_the_socket_of_a_paused_process_waited_that_long() {
        let start = Instant::now();
        let waiting = Waiting::new(start);
        assert_eq!(waiting.observe(start, 300), Duration::ZERO);
        assert_eq!(waiting.observe(start + Duration::from_secs(5), 5_000_300), Duration::from_secs(5));
    }

    #[test]
    fn a_clock_that_was_set_is_followed_after_two_windows() {
        let start = Instant::now();
        let waiting = Waiting::new(start);
        waiting.observe(start, 0);
        assert_eq!(waiting.observe(start + WINDOW, 60_000_000), Duration::from_secs(60));
        assert_eq!(waiting.observe(start + 2 * WINDOW, 60_000_000), Duration::ZERO);
    }
}
