//! The user's request to stop: raised by the program's signal handling, checked wherever this crate waits.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::StackError;

/// The polling interval while waiting for a condition.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Counts the requests to stop. The first one asks for a clean end, the second for a hard one.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    raised: Arc<(Mutex<u32>, Condvar)>,
    /// The number of requests that this handle ignores.
    acknowledged: u32,
}

impl Interrupt {
    pub fn raise(&self) {
        let (count, changed) = &*self.raised;
        *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        changed.notify_all();
    }

    #[must_use]
    pub fn count(&self) -> u32 {
        *self.raised.0.lock().unwrap_or_else(PoisonError::into_inner) - self.acknowledged
    }

    /// A handle for the clean-up that an interrupt causes: it counts only later interrupts.
    #[must_use]
    pub fn acknowledged(&self) -> Self {
        Self { raised: self.raised.clone(), acknowledged: self.acknowledged + self.count() }
    }

    /// Returns the error that ends an interrupted operation.
    pub fn check(&self) -> Result<(), StackError> {
        if self.count() > 0 { Err(StackError::Interrupted) } else { Ok(()) }
    }

    /// Sleeps; returns early when the count rises.
    pub fn sleep(&self, time: Duration) {
        let (count, changed) = &*self.raised;
        let guard = count.lock().unwrap_or_else(PoisonError::into_inner);
        let before = *guard;
        drop(changed.wait_timeout_while(guard, time, |now| *now == before));
    }

    /// Polls `look` until it returns something; `None` when `limit` has passed.
    pub(crate) fn wait_for<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut() -> Result<Option<T>, StackError>,
    ) -> Result<Option<T>, StackError> {
        let end = Instant::now() + limit;
        loop {
            self.check()?;
            if let Some(found) = look()? {
                return Ok(Some(found));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.sleep(LOOK_EVERY);
        }
    }

    /// Waits during clean-up, which the first interrupt does not shorten: false when `limit` has passed or another
    /// interrupt arrived.
    pub(crate) fn wait_while_cleaning(&self, limit: Duration, mut done: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + limit;
        while !done() {
            if Instant::now() >= end || self.count() >= 2 {
                return done();
            }
            self.sleep(LOOK_EVERY);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_interrupted() {
        let interrupt = Interrupt::default();
        let other = interrupt.clone();
        let raiser = std::thread::spawn(move || other.raise());
        let waited = interrupt.wait_for(Duration::from_secs(60), || Ok(None::<()>));
        assert!(matches!(waited, Err(StackError::Interrupted)));
        raiser.join().unwrap();
    }

    #[test]
    fn cleaning_goes_on_after_the_first_interrupt_and_ends_at_the_second() {
        let interrupt = Interrupt::default();
        interrupt.raise();
        assert!(interrupt.wait_while_cleaning(Duration::from_secs(60), || true));
        interrupt.raise();
        assert!(!interrupt.wait_while_cleaning(Duration::from_secs(60), || false));
    }
}
