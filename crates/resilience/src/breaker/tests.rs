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
fn opens_after_consecutive_failures_and_a_success_clears_the_count() {
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
fn a_cancelled_probe_frees_its_place() {
    let (breaker, now) = opened(1, 1);
    drop(breaker.admit(now + OPEN_FOR).expect("half-open"));
    assert!(breaker.admit(now + OPEN_FOR).is_ok());
}

#[test]
fn an_outcome_of_an_earlier_epoch_is_ignored() {
    let (breaker, now) = breaker(1, 2);
    let early = breaker.admit(now).expect("closed");
    breaker.admit(now).expect("closed").fail(now);
    let (first, second) =
        (breaker.admit(now + OPEN_FOR).expect("probe"), breaker.admit(now + OPEN_FOR).expect("probe"));
    early.fail(now + OPEN_FOR);
    assert_eq!(breaker.state(), BreakerState::HalfOpen, "a call from before the opening does not open it again");
    first.succeed();
    second.fail(now + OPEN_FOR);
    assert_eq!(breaker.state(), BreakerState::Closed, "the second probe's outcome came too late");
}

#[test]
fn every_change_is_reported_once() {
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

/// Opens the breaker and closes it again; returns the time afterwards.
fn open_and_close(breaker: &Breaker, mut now: Instant, failures: u32) -> Instant {
    for _ in 0..failures {
        breaker.admit(now).expect("closed").fail(now);
    }
    assert_eq!(breaker.state(), BreakerState::Open);
    now += OPEN_FOR;
    breaker.admit(now).expect("probe").succeed();
    assert_eq!(breaker.state(), BreakerState::Closed);
    now
}

#[test]
fn failures_of_calls_from_before_an_outage_do_not_open_it_again() {
    let (breaker, now) = breaker(3, 1);
    let early: Vec<_> = (0..10).map(|_| breaker.admit(now).expect("closed")).collect();
    let now = open_and_close(&breaker, now, 3);
    early.into_iter().for_each(|call| call.fail(now));
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker.admit(now).expect("closed").fail(now);
    breaker.admit(now).expect("closed").fail(now);
    assert_eq!(breaker.state(), BreakerState::Closed, "none of the early failures was counted");
    breaker.admit(now).expect("closed").fail(now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn a_success_of_a_call_from_before_an_outage_does_not_clear_the_failures_after_it() {
    let (breaker, now) = breaker(2, 1);
    let early = breaker.admit(now).expect("closed");
    let now = open_and_close(&breaker, now, 2);
    breaker.admit(now).expect("closed").fail(now);
    early.succeed();
    breaker.admit(now).expect("closed").fail(now);
    assert_eq!(breaker.state(), BreakerState::Open);
}

#[test]
fn numbers_of_failures_outside_the_bounds_are_clamped() {
    let (least, now) = breaker(0, 1);
    least.admit(now).expect("closed").fail(now);
    assert_eq!(least.state(), BreakerState::Open);
    let (most, now) = breaker(u32::MAX, 1);
    let but_two = u64::from(Word::MOST_FAILURES - 2) * Word::START.with_one_more_failure().bits();
    most.word.store(but_two, Ordering::Release);
    most.admit(now).expect("closed").fail(now);
    assert_eq!((most.state(), most.word().failures()), (BreakerState::Closed, Word::MOST_FAILURES - 1));
    most.admit(now).expect("closed").fail(now);
    assert_eq!(most.state(), BreakerState::Open);
}

/// The expected behaviour of the breaker for one caller at a time, in plain fields.
struct Model {
    failures: u32,
    probes: u32,
    state: BreakerState,
    /// The number of changes of state.
    epoch: usize,
    in_a_row: u32,
    open_until: Instant,
    heard: Vec<BreakerState>,
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Success,
    Failure,
    Cancelled,
}

impl Model {
    fn change(&mut self, to: BreakerState) {
        (self.state, self.epoch, self.in_a_row) = (to, self.epoch + 1, 0);
        self.heard.push(to);
    }

    /// The epoch of the admitted call; `out` holds the epochs of the calls that have not ended.
    fn admit(&mut self, now: Instant, out: &[usize]) -> Option<usize> {
        if self.state == BreakerState::Open && now >= self.open_until {
            self.change(BreakerState::HalfOpen);
        }
        let probes_out = out.iter().filter(|epoch| **epoch == self.epoch).count();
        match self.state {
            BreakerState::Closed => Some(self.epoch),
            BreakerState::HalfOpen => (probes_out < self.probes as usize).then_some(self.epoch),
            BreakerState::Open => None,
        }
    }

    fn finish(&mut self, now: Instant, epoch: usize, outcome: Outcome) {
        if epoch != self.epoch {
            return;
        }
        match (outcome, self.state) {
            (Outcome::Success, BreakerState::HalfOpen) => self.change(BreakerState::Closed),
            (Outcome::Success, BreakerState::Closed) => self.in_a_row = 0,
            (Outcome::Failure, BreakerState::Closed | BreakerState::HalfOpen) => {
                self.in_a_row += 1;
                if self.in_a_row >= self.failures || self.state == BreakerState::HalfOpen {
                    self.open_until = now + OPEN_FOR;
                    self.change(BreakerState::Open);
                }
            }
            (Outcome::Cancelled, _) => {}
            (Outcome::Success | Outcome::Failure, BreakerState::Open) => unreachable!("an open breaker admits nothing"),
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Admit,
    Finish(usize, Outcome),
    Wait(u64),
    Invite,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![3 => Just(Outcome::Failure), 2 => Just(Outcome::Success), 1 => Just(Outcome::Cancelled)];
    prop_oneof![
        4 => Just(Step::Admit),
        4 => (any::<usize>(), outcome).prop_map(|(which, outcome)| Step::Finish(which, outcome)),
        1 => (0u64..1_500).prop_map(Step::Wait),
        1 => Just(Step::Invite),
    ]
}

proptest! {
    #[test]
    fn behaves_like_the_model(failures in 1u32..5, probes in 1u32..4, steps in proptest::collection::vec(step(), 0..400)) {
        let mut now = Instant::now();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hook = Arc::clone(&heard);
        let config = BreakerConfig { failures, open_for: OPEN_FOR, probes };
        let breaker = Breaker::new(config, now, Box::new(move |state| hook.lock().expect("whole").push(state)));
        let mut model = Model {
            failures, probes, state: BreakerState::Closed, epoch: 0, in_a_row: 0, open_until: now, heard: Vec::new(),
        };
        let (mut calls, mut out): (Vec<Admitted<'_>>, Vec<usize>) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Admit => {
                    let (call, epoch) = (breaker.admit(now).ok(), model.admit(now, &out));
                    prop_assert_eq!(call.is_some(), epoch.is_some());
                    calls.extend(call);
                    out.extend(epoch);
                }
                Step::Finish(which, outcome) if !calls.is_empty() => {
                    let which = which % calls.len();
                    let (call, epoch) = (calls.swap_remove(which), out.swap_remove(which));
                    match outcome {
                        Outcome::Success => call.succeed(),
                        Outcome::Failure => call.fail(now),
                        Outcome::Cancelled => drop(call),
                    }
                    model.finish(now, epoch, outcome);
                }
                Step::Finish(..) => {}
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Invite => {
                    breaker.invite();
                    if model.state == BreakerState::Open { model.change(BreakerState::HalfOpen); }
                }
            }
            prop_assert_eq!(breaker.state(), model.state);
            prop_assert_eq!(breaker.word().failures(), model.in_a_row);
            prop_assert_eq!(&*heard.lock().expect("whole"), &model.heard);
        }
    }
}

#[test]
fn with_many_threads_each_change_follows_from_the_one_before_and_no_place_is_lost() {
    let heard = Arc::new(Mutex::new(vec![BreakerState::Closed]));
    let hook = Arc::clone(&heard);
    let config = BreakerConfig { failures: 3, open_for: Duration::ZERO, probes: 2 };
    let start = Instant::now();
    let breaker = Breaker::new(config, start, Box::new(move |state| hook.lock().expect("whole").push(state)));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let breaker = &breaker;
            scope.spawn(move || {
                let mut chance = thread + 1;
                for _ in 0..20_000 {
                    // A linear congruential generator: its high bits are random enough to mix the outcomes.
                    chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    let Ok(call) = breaker.admit(start) else { continue };
                    match chance >> 61 {
                        0..=4 => call.fail(start),
                        5..=6 => call.succeed(),
                        _ => drop(call),
                    }
                }
            });
        }
    });
    assert_eq!(breaker.lock().probes_out, 0);
    let heard = heard.lock().expect("whole");
    assert_eq!(heard.last(), Some(&breaker.state()));
    assert!(heard.len() > 100, "the threads made the breaker open and close");
    for change in heard.windows(2) {
        let legal = matches!(
            change,
            [BreakerState::Closed | BreakerState::HalfOpen, BreakerState::Open]
                | [BreakerState::Open, BreakerState::HalfOpen]
                | [BreakerState::HalfOpen, BreakerState::Closed]
        );
        assert!(legal, "{change:?}");
    }
}
