//! Bounded retries: attempts, budget and remaining deadline, each with a word of its own when it says no.
//!
//! # In the order of time
//! [`Retry::call`] runs the first attempt and counts it in the budget. After a failure that the caller calls retryable it
//! asks [`Retry::next`]: is an attempt left, is the wait shorter than what remains of the deadline, does the budget hold
//! a token? It then waits with jitter and tries again. What the retry ended in goes to the caller's hook.
//!
//! Only idempotent operations may come here; that is the caller's promise.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{backoff::Backoff, budget::Budget, deadline::Deadline};

/// How often and when to try again. Clones share the budget.
#[derive(Debug, Clone)]
pub struct Retry {
    attempts: u32,
    backoff: Backoff,
    budget: Option<Arc<Budget>>,
}

/// Why there was no further attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// All attempts are used up.
    #[error("no attempt is left")]
    Attempts,
    /// The wait would reach past the deadline.
    #[error("the deadline leaves no room for another attempt")]
    Deadline,
    /// The retry budget is exhausted.
    #[error("the retry budget is exhausted")]
    Budget,
}

/// What became of a retry; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    /// An attempt after the first succeeded.
    Succeeded,
    /// An attempt after the first failed.
    Failed,
    /// There was no further attempt although the failure was retryable.
    Refused(RetryRefused),
}

impl Retry {
    /// `attempts` counts the first one: 1 means no retry. Zero is taken as 1. Without a budget only the attempts and
    /// the deadline bound the retries.
    pub fn new(attempts: u32, backoff: Backoff, budget: Option<Arc<Budget>>) -> Self {
        Self { attempts: attempts.max(1), backoff, budget }
    }

    /// The wait before the attempt that follows `attempt` (counted from 1). Takes a token from the budget, and does so
    /// last, so that a refusal for another reason costs nothing.
    ///
    /// # Errors
    /// [`RetryRefused`] names the bound that was reached.
    pub fn next(&self, attempt: u32, now: Instant, deadline: Deadline, chance: f64) -> Result<Duration, RetryRefused> {
        if attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        let delay = self.backoff.delay(attempt, chance);
        if deadline.remaining(now).is_some_and(|left| left <= delay) {
            return Err(RetryRefused::Deadline);
        }
        match &self.budget {
            Some(budget) => budget.withdraw().map(|()| delay).map_err(|_| RetryRefused::Budget),
            None => Ok(delay),
        }
    }

    /// Calls `operation` until it succeeds, fails for good, or a bound is reached. `chance` is asked for each wait;
    /// `outcome` hears of each retry.
    ///
    /// # Errors
    /// The error of the last attempt.
    pub async fn call<T, E, Operation, Attempt>(
        &self,
        deadline: Deadline,
        chance: impl Fn() -> f64,
        is_retryable: impl Fn(&E) -> bool,
        outcome: impl Fn(RetryOutcome),
        mut operation: Operation,
    ) -> Result<T, E>
    where
        Operation: FnMut(u32) -> Attempt,
        Attempt: Future<Output = Result<T, E>>,
    {
        if let Some(budget) = &self.budget {
            budget.deposit();
        }
        let mut attempt = 1;
        loop {
            let error = match operation(attempt).await {
                Ok(value) => {
                    if attempt > 1 {
                        outcome(RetryOutcome::Succeeded);
                    }
                    return Ok(value);
                }
                Err(error) => error,
            };
            if attempt > 1 {
                outcome(RetryOutcome::Failed);
            }
            if self.attempts == 1 || !is_retryable(&error) {
                return Err(error);
            }
            match self.next(attempt, Instant::now(), deadline, chance()) {
                Ok(delay) => tokio::time::sleep(delay).await,
                Err(refused) => {
                    // Running out of attempts is the plan, not a refusal.
                    if refused != RetryRefused::Attempts {
                        outcome(RetryOutcome::Refused(refused));
                    }
                    return Err(error);
                }
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn retry(attempts: u32, budget: Option<Budget>) -> Retry {
        Retry::new(attempts, Backoff::new(Duration::from_millis(10), Duration::from_millis(10)), budget.map(Arc::new))
    }

    async fn failing(
        retry: &Retry,
        deadline: Deadline,
        succeed_at: u32,
    ) -> (Result<u32, &'static str>, Vec<RetryOutcome>) {
        let outcomes = RefCell::new(Vec::new());
        let result = retry
            .call(
                deadline,
                || 0.5,
                |_| true,
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
    async fn what_is_not_retryable_is_not_tried_again() {
        let attempts = RefCell::new(0);
        let result: Result<(), &str> = retry(5, None)
            .call(
                Deadline::NEVER,
                || 0.0,
                |_| false,
                |_| (),
                |_| {
                    *attempts.borrow_mut() += 1;
                    async { Err("bad request") }
                },
            )
            .await;
        assert_eq!((result, attempts.into_inner()), (Err("bad request"), 1));
    }
}
