//! A point in time after which an answer is worthless, passed from the request to everything it waits for.
//!
//! # In the order of time
//! The middleware creates one [`Deadline`] per request. Each step asks [`Deadline::cap`] how long it may take: its own
//! limit or the time left, whichever is shorter. When no time is left, the step does not start: [`DeadlineExceeded`].

use std::time::Duration;

use tokio::time::Instant;

/// When the answer must be available; `None` inside means "no deadline" (the mechanism is switched off).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Option<Instant>);

/// The deadline passed before the step started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct DeadlineExceeded;

impl Deadline {
    /// A deadline `budget` after `now`; `None` is a deadline that never comes.
    pub fn after(now: Instant, budget: Option<Duration>) -> Self {
        Self(budget.and_then(|budget| now.checked_add(budget)))
    }

    /// A deadline that never comes.
    pub const NEVER: Self = Self(None);

    /// The time left; `None` means unlimited.
    pub fn remaining(self, now: Instant) -> Option<Duration> {
        self.0.map(|at| at.saturating_duration_since(now))
    }

    /// How long a step with the limit `own` may take: the shorter of `own` and the time left (`None`: unlimited).
    ///
    /// # Errors
    /// [`DeadlineExceeded`] when no time is left, so that the step does not start at all.
    pub fn cap(self, now: Instant, own: Option<Duration>) -> Result<Option<Duration>, DeadlineExceeded> {
        match (self.remaining(now), own) {
            (Some(Duration::ZERO), _) => Err(DeadlineExceeded),
            (Some(left), Some(own)) => Ok(Some(left.min(own))),
            (Some(left), None) => Ok(Some(left)),
            (None, own) => Ok(own),
        }
    }

    /// The same deadline, `reserve` earlier: the reserve is for the work after the step.
    #[must_use]
    pub fn minus(self, reserve: Duration) -> Self {
        Self(self.0.map(|at| at.checked_sub(reserve).unwrap_or(at)))
    }

    /// The earlier of this deadline and `own` from `now` on.
    #[must_use]
    pub fn child(self, now: Instant, own: Option<Duration>) -> Self {
        match (self.0, Self::after(now, own).0) {
            (Some(a), Some(b)) => Self(Some(a.min(b))),
            (a, b) => Self(a.or(b)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_child_never_outlives_its_parent(parent in 0u64..10_000, own in proptest::option::of(0u64..10_000), later in 0u64..10_000) {
            let now = Instant::now();
            let parent = Deadline::after(now, Some(Duration::from_millis(parent)));
            let child = parent.child(now + Duration::from_millis(later), own.map(Duration::from_millis));
            prop_assert!(child.remaining(now) <= parent.remaining(now));
        }

        #[test]
        fn a_step_gets_neither_more_than_its_own_limit_nor_more_than_is_left(left in 0u64..1_000, own in 0u64..1_000) {
            let now = Instant::now();
            let cap = Deadline::after(now, Some(Duration::from_millis(left))).cap(now, Some(Duration::from_millis(own)));
            match cap {
                Err(DeadlineExceeded) => prop_assert_eq!(left, 0),
                Ok(cap) => prop_assert_eq!(cap, Some(Duration::from_millis(left.min(own)))),
            }
        }
    }

    #[test]
    fn never_leaves_each_step_its_own_limit() {
        let now = Instant::now();
        assert_eq!(Deadline::NEVER.cap(now, None), Ok(None));
        assert_eq!(Deadline::NEVER.cap(now, Some(Duration::from_secs(1))), Ok(Some(Duration::from_secs(1))));
    }
}
