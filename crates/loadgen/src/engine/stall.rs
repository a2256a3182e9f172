//! Detects that the generator itself did not run: it was stopped by a signal, or had no core for long.
//!
//! Each round of a worker states when the next one begins at the latest. A round that begins much later was not
//! scheduled by the kernel in time.

use std::time::Duration;

use crate::report::Stalls;

/// The shortest gap that counts as a stall. Shorter ones are ordinary scheduling delays, which the send delays include.
const STALL: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct StallWatch {
    warmup: Duration,
    expected: Duration,
    stalls: Stalls,
}

impl StallWatch {
    pub(super) fn new(warmup: Duration) -> Self {
        Self { warmup, expected: Duration::MAX, stalls: Stalls::default() }
    }

    /// A round begins. Returns whether there was a stall before it.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        let over = now.saturating_sub(self.expected);
        if over < STALL {
            return false;
        }
        if self.expected >= self.warmup {
            let Stalls { count, total_s, longest_s, longest_at_s } = &mut self.stalls;
            let over = over.as_secs_f64();
            *count += 1;
            *total_s += over;
            if over > *longest_s {
                *longest_s = over;
                *longest_at_s = self.expected.saturating_sub(self.warmup).as_secs_f64();
            }
        }
        true
    }

    /// The next round will begin at `at` or earlier.
    pub(super) fn expect(&mut self, at: Duration) {
        self.expected = at;
    }

    pub(super) fn stalls(&self) -> Stalls {
        self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_comes_much_too_late_is_a_stall() {
        let ms = Duration::from_millis;
        let mut watch = StallWatch::new(ms(1_000));
        assert!(!watch.begin(ms(5_000)), "nothing was expected before the first round");
        for (expected, came, stalled) in
            [(900, 1_900, true), (2_000, 2_099, false), (3_000, 3_250, true), (4_000, 7_000, true)]
        {
            watch.expect(ms(expected));
            assert_eq!(watch.begin(ms(came)), stalled, "{expected} {came}");
        }
        let expected = Stalls { count: 2, total_s: 3.25, longest_s: 3.0, longest_at_s: 3.0 };
        assert_eq!(watch.stalls(), expected, "without the one in the warm-up");
    }
}
