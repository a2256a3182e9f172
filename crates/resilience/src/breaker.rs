//! A circuit breaker: stops calls to a dependency that does not answer, and detects cheaply when it answers again.
//!
//! # In the order of time
//! ## Closed
//! Every call is admitted. A success clears the count of consecutive failures; `failures` of them open the breaker. The
//! breaker counts consecutive failures, not a ratio over a window: after a long time without failures, a window needs
//! as many failures as it holds successes, while an unavailable dependency shows itself in the next five calls.
//! ## Open
//! Every call is refused with [`BreakerOpen`], without calling the dependency, for `open_for`, or until a prober of the
//! dependency reports that it [answers again](Breaker::invite).
//! ## HalfOpen
//! At most `probes` calls at a time are admitted. The first success closes the breaker, the first failure opens it
//! again. A cancelled probe frees its place and is not counted.
//!
//! The caller decides what counts as a failure, through [`Admitted::succeed`] and [`Admitted::fail`].
//!
//! # Epochs
//! Each change of state begins an epoch, and each call carries the epoch in which it was admitted. An outcome counts
//! only in its own epoch: a call that was sent before an outage and fails after the recovery says nothing about the
//! present state of the dependency, so it neither counts as a failure nor clears the count.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use self::word::Word;

mod word;

/// When to open, how long to stay open, how many probes to admit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Consecutive failures that open the breaker: 1 to 2^30 − 1; a value outside is clamped.
    pub failures: u32,
    /// How long it stays open before it admits a probe.
    pub open_for: Duration,
    /// Calls admitted at a time while half-open (1..).
    pub probes: u32,
}

/// The state of a breaker. The numbers are those of the metric `breaker_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// Calls are admitted.
    Closed = 0,
    /// A few calls are admitted as probes.
    HalfOpen = 1,
    /// Calls are refused.
    Open = 2,
}

/// The breaker refuses the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open")]
pub struct BreakerOpen;

/// Called at each change of state, for metrics and logs. The breaker's lock is held during the call, so it must be
/// quick.
pub type OnTransition = Box<dyn Fn(BreakerState) + Send + Sync>;

/// Shared by all calls to one dependency.
pub struct Breaker {
    config: BreakerConfig,
    on_transition: OnTransition,
    /// A [`Word`]. While the breaker is closed, calls change the failure count in it without the lock; everything else
    /// changes with the lock held. A call that succeeds while the failure count is zero only reads it.
    word: AtomicU64,
    inner: Mutex<Inner>,
}

/// State that is used only while the breaker is not closed.
struct Inner {
    open_until: Instant,
    probes_out: u32,
}

/// An admitted call. Report its outcome; dropping it unreported (cancelled) counts as nothing.
#[derive(Debug)]
#[must_use = "report the outcome with succeed or fail"]
pub struct Admitted<'a> {
    breaker: &'a Breaker,
    /// Epoch and state in which the call was admitted. Half-open: the call is a probe.
    period: Word,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig, now: Instant, on_transition: OnTransition) -> Self {
        let failures = config.failures.clamp(1, Word::MOST_FAILURES);
        Self {
            config: BreakerConfig { failures, probes: config.probes.max(1), ..config },
            on_transition,
            word: AtomicU64::new(Word::START.bits()),
            inner: Mutex::new(Inner { open_until: now, probes_out: 0 }),
        }
    }

    /// Asks for permission to make a call.
    ///
    /// # Errors
    /// [`BreakerOpen`] while the breaker is open, or half-open with all probes taken.
    pub fn admit(&self, now: Instant) -> Result<Admitted<'_>, BreakerOpen> {
        let word = self.word();
        if word.state() == BreakerState::Closed {
            return Ok(Admitted { breaker: self, period: word.period() });
        }
        let mut inner = self.lock();
        if self.word().state() == BreakerState::Open && now >= inner.open_until {
            self.leave(&mut inner, BreakerState::HalfOpen);
        }
        let word = self.word();
        match word.state() {
            BreakerState::Closed => {}
            BreakerState::HalfOpen if inner.probes_out < self.config.probes => inner.probes_out += 1,
            BreakerState::HalfOpen | BreakerState::Open => return Err(BreakerOpen),
        }
        Ok(Admitted { breaker: self, period: word.period() })
    }

    /// Reports that the dependency answers again: an open breaker becomes half-open at once.
    pub fn invite(&self) {
        let mut inner = self.lock();
        if self.word().state() == BreakerState::Open {
            self.leave(&mut inner, BreakerState::HalfOpen);
        }
    }

    /// The state as of the last call. An open breaker becomes half-open only at the next call.
    pub fn state(&self) -> BreakerState {
        self.word().state()
    }

    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    /// Replaces the word atomically, unless `change` returns `None`. Returns the previous word.
    fn update(&self, change: impl Fn(Word) -> Option<Word>) -> Result<Word, Word> {
        let change = |bits| change(Word::from_bits(bits)).map(Word::bits);
        let old = self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, change);
        old.map(Word::from_bits).map_err(Word::from_bits)
    }

    /// Leaves the open or the half-open state. In these states the word changes only with the lock held.
    fn leave(&self, inner: &mut Inner, to: BreakerState) {
        self.word.store(self.word().next(to).bits(), Ordering::Release);
        self.arrive(inner, to);
    }

    fn arrive(&self, inner: &mut Inner, to: BreakerState) {
        inner.probes_out = 0;
        (self.on_transition)(to);
    }

    /// A success while the breaker is closed: nothing is written when there is nothing to clear.
    fn clear_failures(&self, period: Word) {
        let _ignored_if_none = self.update(|word| (word.period() == period && word.failures() > 0).then_some(period));
    }

    /// A failure while the breaker is closed. The failure that opens the breaker does so in one step, with the lock
    /// held.
    fn count_failure(&self, period: Word, now: Instant) {
        let is_last = |word: Word| word.failures() + 1 >= self.config.failures;
        let counted =
            self.update(|word| (word.period() == period && !is_last(word)).then(|| word.with_one_more_failure()));
        match counted {
            Ok(_) => return,
            Err(word) if word.period() != period => return,
            Err(_) => {}
        }
        let mut inner = self.lock();
        let counted = self.update(|word| match word.period() == period {
            true if is_last(word) => Some(word.next(BreakerState::Open)),
            true => Some(word.with_one_more_failure()),
            false => None,
        });
        if counted.is_ok_and(is_last) {
            inner.open_until = now + self.config.open_for;
            self.arrive(&mut inner, BreakerState::Open);
        }
    }

    /// Only the hook can panic while the lock is held, and the state is consistent at that point.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted<'_> {
    /// The dependency answered (an answer that says "no" is an answer).
    pub fn succeed(self) {
        if !self.is_probe() {
            return self.breaker.clear_failures(self.period);
        }
        let mut inner = self.breaker.lock();
        if self.breaker.word().period() == self.period {
            self.breaker.leave(&mut inner, BreakerState::Closed);
        }
    }

    /// The dependency did not answer as it should.
    pub fn fail(self, now: Instant) {
        if !self.is_probe() {
            return self.breaker.count_failure(self.period, now);
        }
        let mut inner = self.breaker.lock();
        if self.breaker.word().period() == self.period {
            inner.open_until = now + self.breaker.config.open_for;
            self.breaker.leave(&mut inner, BreakerState::Open);
        }
    }

    fn is_probe(&self) -> bool {
        self.period.state() == BreakerState::HalfOpen
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if self.is_probe() {
            let mut inner = self.breaker.lock();
            if self.breaker.word().period() == self.period {
                inner.probes_out -= 1;
            }
        }
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("config", &self.config).field("state", &self.state()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
