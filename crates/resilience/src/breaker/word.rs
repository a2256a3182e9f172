//! A breaker's state, epoch and count of consecutive failures in one word, so that a call reads and changes them
//! together without a lock.

use super::BreakerState;

/// From the highest bit: epoch (32 bits), consecutive failures (30 bits), state (2 bits).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(u64);

const STATE_BITS: u32 = 2;
const STATE_MASK: u64 = (1 << STATE_BITS) - 1;
const EPOCH_SHIFT: u32 = 32;
const FAILURES_MASK: u64 = (1 << EPOCH_SHIFT) - 1 - STATE_MASK;

impl Word {
    /// The largest count of consecutive failures that fits.
    pub(super) const MOST_FAILURES: u32 = (FAILURES_MASK >> STATE_BITS) as u32;

    /// Closed, in the first epoch, without a failure.
    pub(super) const START: Self = Self(BreakerState::Closed as u64);

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn state(self) -> BreakerState {
        match self.0 & STATE_MASK {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        }
    }

    pub(super) const fn failures(self) -> u32 {
        ((self.0 & FAILURES_MASK) >> STATE_BITS) as u32
    }

    /// The same epoch and state without failures: the part that all words of one epoch have in common.
    pub(super) const fn period(self) -> Self {
        Self(self.0 & !FAILURES_MASK)
    }

    /// One more failure. The caller keeps the count below [`Self::MOST_FAILURES`].
    pub(super) const fn with_one_more_failure(self) -> Self {
        Self(self.0 + (1 << STATE_BITS))
    }

    /// The next epoch begins, in the state `to`. After 2^32 changes of state the epoch wraps around.
    pub(super) const fn next(self, to: BreakerState) -> Self {
        let epoch = (self.0 >> EPOCH_SHIFT).wrapping_add(1) << EPOCH_SHIFT;
        Self(epoch | to as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_do_not_overlap() {
        let mut word = Word::START.next(BreakerState::Open).next(BreakerState::HalfOpen);
        let period = word.period();
        for failures in 0..5 {
            assert_eq!((word.state(), word.failures(), word.period()), (BreakerState::HalfOpen, failures, period));
            word = word.with_one_more_failure();
        }
        let full = Word::from_bits(word.bits() | FAILURES_MASK);
        assert_eq!(
            (full.state(), full.failures(), full.period()),
            (BreakerState::HalfOpen, Word::MOST_FAILURES, period)
        );
    }

    #[test]
    fn each_change_of_state_begins_its_own_period_also_after_the_epoch_wraps() {
        let last = Word::from_bits(u64::MAX << EPOCH_SHIFT);
        for word in [Word::START, last] {
            let again = word.next(BreakerState::Open).next(BreakerState::Closed);
            assert_eq!((again.state(), again.failures()), (BreakerState::Closed, 0));
            assert_ne!(again.period(), word.period());
        }
    }
}
