use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use proptest::prelude::*;
use tokio::task::LocalSet;

use super::*;

fn retry(attempts: u32, budget: Option<Budget>) -> Retry {
    Retry::new(attempts, Backoff::new(Duration::from_millis(10), Duration::from_millis(10)), budget.map(Arc::new))
}

async fn failing(retry: &Retry, deadline: Deadline, succeed_at: u32) -> (Result<u32, &'static str>, Vec<RetryOutcome>) {
    let outcomes = RefCell::new(Vec::new());
    let result = retry
        .call(
            deadline,
            || 0.5,
            |_| Failure::Retryable,
            |outcome| outcomes.borrow_mut().push(outcome),
            |attempt| async move { if attempt >= succeed_at { Ok(attempt) } else { Err("down") } },
        )
        .await;
    (result, outcomes.into_inner())
}

#[tokio::test(start_paused = true)]
async fn stops_at_the_first_success() {
    let (result, outcomes) = failing(&retry(3, None), Deadline::NEVER, 2).await;
    assert_eq!((result, outcomes), (Ok(2), vec![RetryOutcome::Succeeded]));
}

#[tokio::test(start_paused = true)]
async fn stops_after_the_last_attempt_with_its_error() {
    let (result, outcomes) = failing(&retry(2, None), Deadline::NEVER, 9).await;
    assert_eq!((result, outcomes), (Err("down"), vec![RetryOutcome::Failed]));
}

#[tokio::test(start_paused = true)]
async fn does_not_wait_past_the_deadline() {
    let deadline = Deadline::after(Instant::now(), Some(Duration::from_millis(5)));
    let (result, outcomes) = failing(&retry(2, None), deadline, 2).await;
    assert_eq!((result, outcomes), (Err("down"), vec![RetryOutcome::Refused(RetryRefused::Deadline)]));
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_the_reserve_and_then_the_ratio() {
    let retry = retry(2, Some(Budget::new(5, 0.1)));
    let mut retries = 0;
    for _ in 0..100 {
        let (_, outcomes) = failing(&retry, Deadline::NEVER, 9).await;
        retries += outcomes.iter().filter(|outcome| **outcome == RetryOutcome::Failed).count();
    }
    assert!((14..=15).contains(&retries), "5 in reserve and 10 % of 100 calls, got {retries}");
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_retryable_is_not_retried() {
    let attempts = RefCell::new(0);
    let result: Result<(), &str> = retry(5, None)
        .call(
            Deadline::NEVER,
            || 0.0,
            |_| Failure::Final,
            |_| (),
            |_| {
                *attempts.borrow_mut() += 1;
                async { Err("bad request") }
            },
        )
        .await;
    assert_eq!((result, attempts.into_inner()), (Err("bad request"), 1));
}

/// How one attempt ends, for the judge of these tests; `Ok` is a success.
type Planned = Result<(), Failure>;

async fn planned(retry: &Retry, plan: &[Planned]) -> (Result<u32, (u32, Failure)>, Vec<RetryOutcome>) {
    let outcomes = RefCell::new(Vec::new());
    let result = retry
        .call(
            Deadline::NEVER,
            || 0.5,
            |(_, failure)| *failure,
            |outcome| outcomes.borrow_mut().push(outcome),
            |attempt| async move { plan[attempt as usize - 1].map(|()| attempt).map_err(|failure| (attempt, failure)) },
        )
        .await;
    (result, outcomes.into_inner())
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_was_not_sent_is_not_retried_and_deposits_nothing() {
    let retry = retry(2, Some(Budget::new(1, 1.0)));
    let budget = retry.budget.as_ref().expect("given");
    budget.withdraw().expect("the reserve").spend();
    for _ in 0..10 {
        let (result, outcomes) = planned(&retry, &[Err(Failure::NotSent)]).await;
        assert_eq!((result, outcomes), (Err((1, Failure::NotSent)), vec![]));
    }
    assert!(budget.withdraw().is_err(), "ten refused calls filled the budget");
    let (_, outcomes) = planned(&retry, &[Err(Failure::Retryable), Ok(())]).await;
    assert_eq!(outcomes, [RetryOutcome::Succeeded], "a call that was sent pays for its retry at a ratio of one");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_not_sent_costs_nothing_and_keeps_the_error_of_the_attempt_that_was() {
    let retry = retry(3, Some(Budget::new(1, 0.0)));
    for _ in 0..10 {
        let (result, outcomes) = planned(&retry, &[Err(Failure::Retryable), Err(Failure::NotSent)]).await;
        assert_eq!((result, outcomes), (Err((1, Failure::Retryable)), vec![RetryOutcome::NotSent]));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_during_the_wait_returns_its_token() {
    let retry = retry(2, Some(Budget::new(1, 0.0)));
    let plan = [Err(Failure::Retryable), Ok(())];
    let in_the_wait = Duration::from_millis(1);
    tokio::time::timeout(in_the_wait, planned(&retry, &plan)).await.expect_err("5 ms of wait");
    let (result, _) = planned(&retry, &plan).await;
    assert_eq!(result, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_cancelled_while_it_runs_has_spent_its_token() {
    let retry = retry(2, Some(Budget::new(1, 0.0)));
    let hangs = |attempt| async move {
        if attempt == 2 {
            std::future::pending::<()>().await;
        }
        Err::<(), _>("down")
    };
    let call = retry.call(Deadline::NEVER, || 0.5, |_| Failure::Retryable, |_| (), hangs);
    tokio::time::timeout(Duration::from_secs(1), call).await.expect_err("the second attempt hangs");
    let (_, outcomes) = planned(&retry, &[Err(Failure::Retryable)]).await;
    assert_eq!(outcomes, [RetryOutcome::Refused(RetryRefused::Budget)]);
}

/// One call of the property below.
#[derive(Debug, Clone)]
struct Plan {
    start_ms: u64,
    attempt_ms: u64,
    cancelled_ms: Option<u64>,
    attempts: [Planned; 4],
}

fn plan() -> impl Strategy<Value = Plan> {
    let attempt = prop_oneof![
        1 => Just(Ok(())),
        2 => Just(Err(Failure::NotSent)),
        1 => Just(Err(Failure::Final)),
        5 => Just(Err(Failure::Retryable)),
    ];
    let attempts = [attempt.clone(), attempt.clone(), attempt.clone(), attempt];
    (0u64..200, 0u64..10, proptest::option::weighted(0.3, 0u64..40), attempts).prop_map(
        |(start_ms, attempt_ms, cancelled_ms, attempts)| Plan { start_ms, attempt_ms, cancelled_ms, attempts },
    )
}

/// What all calls together did.
#[derive(Default)]
struct Counted {
    sent_calls: Cell<u32>,
    sent_retries: Cell<u32>,
}

impl Counted {
    /// One attempt; a retry counts as sent from its start, until it is known that it was not sent.
    async fn attempt(&self, plan: &Plan, attempt: u32, holds: impl Fn()) -> Result<u32, (u32, Failure)> {
        if attempt > 1 {
            self.sent_retries.set(self.sent_retries.get() + 1);
            holds();
        }
        tokio::time::sleep(Duration::from_millis(plan.attempt_ms)).await;
        let planned = plan.attempts[attempt as usize - 1];
        match (attempt, planned) {
            (1, Err(Failure::NotSent)) => {}
            (1, _) => self.sent_calls.set(self.sent_calls.get() + 1),
            (_, Err(Failure::NotSent)) => self.sent_retries.set(self.sent_retries.get() - 1),
            (_, _) => {}
        }
        planned.map(|()| attempt).map_err(|failure| (attempt, failure))
    }
}

/// Checks one finished call against the attempts that it made.
fn assert_consistent(plan: &Plan, made: u32, result: Result<u32, (u32, Failure)>) {
    let (last, before) = plan.attempts[..made as usize].split_last().expect("at least one attempt");
    assert!(before.iter().all(|attempt| *attempt == Err(Failure::Retryable)), "{before:?} were followed by another");
    let expected = match (last, made) {
        (Ok(()), _) => Ok(made),
        (Err(Failure::NotSent), 2..) => Err((made - 1, Failure::Retryable)),
        (Err(failure), _) => Err((made, *failure)),
    };
    assert_eq!(result, expected);
}

proptest! {
    #[test]
    fn for_every_sequence_retries_stay_within_the_budget(
        attempts in 1u32..=4, reserve in 0u32..5, ratio in 0.0f64..=1.0, plans in proptest::collection::vec(plan(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        let calls = LocalSet::new();
        let retry = Rc::new(retry(attempts, Some(Budget::new(reserve, ratio))));
        let counted = Rc::new(Counted::default());
        let handles: Vec<_> = plans.into_iter().map(|plan| {
            let (retry, counted) = (Rc::clone(&retry), Rc::clone(&counted));
            calls.spawn_local(async move {
                tokio::time::sleep(Duration::from_millis(plan.start_ms)).await;
                let made = Cell::new(0);
                let holds = || {
                    let allowed = f64::from(reserve) + ratio * f64::from(counted.sent_calls.get());
                    assert!(f64::from(counted.sent_retries.get()) <= allowed + 1e-6);
                };
                let operation = |attempt| {
                    made.set(attempt);
                    counted.attempt(&plan, attempt, holds)
                };
                let call = retry.call(Deadline::NEVER, || 0.5, |(_, failure)| *failure, |_| (), operation);
                let time = Duration::from_millis(plan.cancelled_ms.unwrap_or(60_000));
                let result = tokio::time::timeout(time, call).await;
                assert!(made.get() <= attempts);
                match result {
                    Ok(result) => assert_consistent(&plan, made.get(), result),
                    Err(_) => assert!(plan.cancelled_ms.is_some()),
                }
            })
        }).collect();
        runtime.block_on(calls.run_until(async {
            for handle in handles { handle.await.expect("no assertion fails"); }
        }));
    }
}
