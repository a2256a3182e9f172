//! A circuit breaker: stop asking a dependency that does not answer, and find out cheaply when it does again.
//!
//! # In the order of time
//! ## Closed
//! Every call is admitted. A success clears the count of failures in a row; `failures` of them open the breaker. Failures
//! in a row, not a share of a window: after a long good time a window would need as many failures as it holds successes,
//! while a dependency that is away shows itself in the next five calls.
//! ## Open
//! Every call is refused with [`BreakerOpen`], without touching the dependency, for `open_for`; or until somebody who
//! watches the dependency says that it [answers again](Breaker::invite).
//! ## HalfOpen
//! At most `probes` calls at a time are let through. The first success closes the breaker, the first failure opens it
//! again. A probe that was cancelled gives its place back and says nothing.
//!
//! What counts as a failure is decided by the caller, through [`Admitted::succeed`] and [`Admitted::fail`]. An outcome
//! that arrives after the state has changed is ignored: it tells of a time that is over.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// When to open, how long to stay open, how many probes to let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row that open the breaker (1..).
    pub failures: u32,
    /// How long it stays open before it tries again.
    pub open_for: Duration,
    /// Calls let through at a time while half-open (1..).
    pub probes: u32,
}

/// Where the breaker stands. The numbers are those of the metric `breaker_state`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BreakerState {
    /// Calls pass.
    Closed = 0,
    /// A few calls pass to find out.
    HalfOpen = 1,
    /// Calls are refused.
    Open = 2,
}

/// The breaker refuses the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the circuit breaker is open")]
pub struct BreakerOpen;

/// Hears of each change of state; for metrics and logs. Called with the breaker's lock held: it must be quick.
pub type OnTransition = Box<dyn Fn(BreakerState) + Send + Sync>;

/// Shared by all calls to one dependency.
pub struct Breaker {
    config: BreakerConfig,
    on_transition: OnTransition,
    /// The state once more, readable without the lock: the whole cost of a call while closed.
    state: AtomicU8,
    failures_in_a_row: AtomicU32,
    inner: Mutex<Inner>,
}

struct Inner {
    state: BreakerState,
    /// Counts the changes of state, so that late outcomes can be told from present ones.
    epoch: u32,
    open_until: Instant,
    probes_out: u32,
}

/// A call that was let through. Report its outcome; dropping it unreported (cancelled) counts as nothing.
#[derive(Debug)]
#[must_use = "report the outcome with succeed or fail"]
pub struct Admitted<'a> {
    breaker: &'a Breaker,
    /// The epoch in which a probe was let through; `None` for a call through the closed breaker.
    probe: Option<u32>,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig, now: Instant, on_transition: OnTransition) -> Self {
        let config = BreakerConfig { failures: config.failures.max(1), probes: config.probes.max(1), ..config };
        let inner = Inner { state: BreakerState::Closed, epoch: 0, open_until: now, probes_out: 0 };
        Self {
            config,
            on_transition,
            state: AtomicU8::new(BreakerState::Closed as u8),
            failures_in_a_row: AtomicU32::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// [`BreakerOpen`] while the breaker is open, or half-open with all probes out.
    pub fn admit(&self, now: Instant) -> Result<Admitted<'_>, BreakerOpen> {
        if self.state.load(Ordering::Acquire) == BreakerState::Closed as u8 {
            return Ok(Admitted { breaker: self, probe: None });
        }
        let mut inner = self.lock();
        if inner.state == BreakerState::Open && now >= inner.open_until {
            self.transition(&mut inner, BreakerState::HalfOpen);
        }
        match inner.state {
            BreakerState::Closed => Ok(Admitted { breaker: self, probe: None }),
            BreakerState::HalfOpen if inner.probes_out < self.config.probes => {
                inner.probes_out += 1;
                Ok(Admitted { breaker: self, probe: Some(inner.epoch) })
            }
            BreakerState::HalfOpen | BreakerState::Open => Err(BreakerOpen),
        }
    }

    /// Says that the dependency answers again: an open breaker becomes half-open at once.
    pub fn invite(&self) {
        let mut inner = self.lock();
        if inner.state == BreakerState::Open {
            self.transition(&mut inner, BreakerState::HalfOpen);
        }
    }

    /// The state as of the last call; an open breaker turns half-open only when somebody asks it.
    pub fn state(&self) -> BreakerState {
        self.lock().state
    }

    fn transition(&self, inner: &mut Inner, to: BreakerState) {
        inner.state = to;
        inner.epoch = inner.epoch.wrapping_add(1);
        inner.probes_out = 0;
        self.failures_in_a_row.store(0, Ordering::Relaxed);
        self.state.store(to as u8, Ordering::Release);
        (self.on_transition)(to);
    }

    fn open(&self, inner: &mut Inner, now: Instant) {
        inner.open_until = now + self.config.open_for;
        self.transition(inner, BreakerState::Open);
    }

    /// A panic inside the lock could only come from the hook; the state is whole then.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admitted<'_> {
    /// The dependency answered (an answer that says "no" is an answer).
    pub fn succeed(self) {
        let breaker = self.breaker;
        match self.probe {
            None => {
                if breaker.failures_in_a_row.load(Ordering::Relaxed) != 0 {
                    breaker.failures_in_a_row.store(0, Ordering::Relaxed);
                }
            }
            Some(epoch) => {
                let mut inner = breaker.lock();
                if inner.epoch == epoch {
                    breaker.transition(&mut inner, BreakerState::Closed);
                }
            }
        }
    }

    /// The dependency did not answer as it should.
    pub fn fail(self, now: Instant) {
        let breaker = self.breaker;
        match self.probe {
            None => {
                let failures = breaker.failures_in_a_row.fetch_add(1, Ordering::Relaxed) + 1;
                if failures >= breaker.config.failures {
                    let mut inner = breaker.lock();
                    if inner.state == BreakerState::Closed {
                        breaker.open(&mut inner, now);
                    }
                }
            }
            Some(epoch) => {
                let mut inner = breaker.lock();
                if inner.epoch == epoch {
                    breaker.open(&mut inner, now);
                }
            }
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(epoch) = self.probe {
            let mut inner = self.breaker.lock();
            if inner.epoch == epoch {
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
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(1);

    fn breaker(failures: u32, probes: u32) -> (Breaker, Instant) {
        let now = Instant::now();
        (Breaker::new(BreakerConfig { failures, open_for: OPEN_FOR, probes }, now, Box::new(|_| ())), now)
    }

    fn opened(failures: u32, probes: u32) -> (Breaker, Instant) {
        let (breaker, now) = breaker(failures, probes);
        for _ in 0..failures {
            breaker.admit(now).expect("closed").fail(now);
        }
        assert_eq!(breaker.state(), BreakerState::Open);
        (breaker, now)
    }

    #[test]
    fn opens_after_so_many_failures_in_a_row_and_a_success_between_starts_anew() {
        let (breaker, now) = breaker(3, 1);
        for _ in 0..5 {
            breaker.admit(now).expect("closed").fail(now);
            breaker.admit(now).expect("closed").fail(now);
            breaker.admit(now).expect("closed").succeed();
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        for _ in 0..3 {
            breaker.admit(now).expect("closed").fail(now);
        }
        assert_eq!(breaker.admit(now).unwrap_err(), BreakerOpen);
    }

    #[test]
    fn tries_again_after_its_time_and_closes_on_success() {
        let (breaker, now) = opened(1, 1);
        assert!(breaker.admit(now + OPEN_FOR - Duration::from_nanos(1)).is_err());
        let probe = breaker.admit(now + OPEN_FOR).expect("half-open");
        assert!(breaker.admit(now + OPEN_FOR).is_err(), "one probe at a time");
        probe.succeed();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_failed_probe_opens_it_for_the_whole_time_again() {
        let (breaker, now) = opened(1, 1);
        let later = now + OPEN_FOR;
        breaker.admit(later).expect("half-open").fail(later);
        assert!(breaker.admit(later + OPEN_FOR - Duration::from_nanos(1)).is_err());
        assert!(breaker.admit(later + OPEN_FOR).is_ok());
    }

    #[test]
    fn an_invitation_ends_the_wait() {
        let (breaker, now) = opened(1, 1);
        breaker.invite();
        breaker.admit(now).expect("half-open at once").succeed();
        breaker.invite();
        assert_eq!(breaker.state(), BreakerState::Closed, "an invitation changes nothing but an open breaker");
    }

    #[test]
    fn a_cancelled_probe_gives_its_place_back() {
        let (breaker, now) = opened(1, 1);
        drop(breaker.admit(now + OPEN_FOR).expect("half-open"));
        assert!(breaker.admit(now + OPEN_FOR).is_ok());
    }

    #[test]
    fn an_outcome_of_a_time_that_is_over_is_ignored() {
        let (breaker, now) = breaker(1, 2);
        let early = breaker.admit(now).expect("closed");
        breaker.admit(now).expect("closed").fail(now);
        let (first, second) =
            (breaker.admit(now + OPEN_FOR).expect("probe"), breaker.admit(now + OPEN_FOR).expect("probe"));
        early.fail(now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::HalfOpen, "a call from before the opening does not open it again");
        first.succeed();
        second.fail(now + OPEN_FOR);
        assert_eq!(breaker.state(), BreakerState::Closed, "the second probe's verdict came too late");
    }

    #[test]
    fn every_change_is_heard_of_once() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&heard);
        let config = BreakerConfig { failures: 2, open_for: OPEN_FOR, probes: 1 };
        let now = Instant::now();
        let breaker = Breaker::new(config, now, Box::new(move |state| hook.lock().expect("whole").push(state)));
        for _ in 0..2 {
            breaker.admit(now).expect("closed").fail(now);
        }
        breaker.admit(now + OPEN_FOR).expect("probe").succeed();
        assert_eq!(*heard.lock().expect("whole"), [BreakerState::Open, BreakerState::HalfOpen, BreakerState::Closed]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Admit,
        Finish(usize, u8),
        Wait(u64),
        Invite,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Admit),
            (any::<usize>(), 0u8..3).prop_map(|(which, how)| Step::Finish(which, how)),
            (0u64..1_500).prop_map(Step::Wait),
            Just(Step::Invite),
        ]
    }

    proptest! {
        #[test]
        fn never_has_more_probes_out_than_allowed(failures in 1u32..4, probes in 1u32..4, steps in proptest::collection::vec(step(), 0..300)) {
            let (breaker, mut now) = breaker(failures, probes);
            let mut calls: Vec<Admitted<'_>> = Vec::new();
            for step in steps {
                match step {
                    Step::Admit => {
                        if let Ok(call) = breaker.admit(now) { calls.push(call); }
                    }
                    Step::Finish(which, how) if !calls.is_empty() => {
                        let call = calls.swap_remove(which % calls.len());
                        match how { 0 => call.succeed(), 1 => call.fail(now), _ => drop(call) }
                    }
                    Step::Finish(..) => {}
                    Step::Wait(ms) => now += Duration::from_millis(ms),
                    Step::Invite => breaker.invite(),
                }
                let epoch = breaker.lock().epoch;
                let out = calls.iter().filter(|call| call.probe == Some(epoch)).count();
                prop_assert!(out <= probes as usize);
                prop_assert_eq!(out, breaker.lock().probes_out as usize);
            }
        }
    }
}
