//! Retries bounded by attempts, budget and remaining deadline. Each bound has its own reason for a refusal.
//!
//! # In the order of time
//! ## First attempt
//! [`Retry::call`] runs it. The caller classifies a failure: see [`Failure`]. A call that was sent makes its deposit in
//! the budget, even if it failed. A call that was refused before it was sent makes none, so that an open breaker does
//! not fill the budget. A call that is cancelled while it runs makes none either.
//! ## Wait
//! A retryable failure is retried if an attempt is left, the wait is shorter than the time left until the deadline, and
//! the budget holds a token. A call that is cancelled during the wait returns its token: nothing was sent for it.
//! ## Next attempt
//! The token is spent when the attempt starts: an attempt that is cancelled while it runs may have been sent. If it
//! turns out that it was not sent, the token is returned and the call ends: an attempt that was not sent is never
//! retried, so an open breaker causes no retries.
//!
//! The caller's hook receives the outcome of each retry. The caller must pass idempotent operations only.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{backoff::Backoff, budget::Budget, deadline::Deadline};

/// How often and when to retry. Clones share the budget.
#[derive(Debug, Clone)]
pub struct Retry {
    attempts: u32,
    backoff: Backoff,
    budget: Option<Arc<Budget>>,
}

/// The kind of a failed attempt, as the caller classifies it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent: the breaker is open, there is no connection, the deadline has passed.
    NotSent,
    /// It was sent, and another attempt would fail in the same way.
    Final,
    /// It was sent, or may have been, and another attempt may succeed.
    Retryable,
}

/// Why no further attempt was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RetryRefused {
    /// All attempts are used up.
    #[error("no attempt is left")]
    Attempts,
    /// The wait would end after the deadline.
    #[error("the deadline leaves no room for another attempt")]
    Deadline,
    /// The retry budget is exhausted.
    #[error("the retry budget is exhausted")]
    Budget,
}

/// The outcome of a retry; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryOutcome {
    /// An attempt after the first succeeded.
    Succeeded,
    /// An attempt after the first was sent and failed.
    Failed,
    /// An attempt after the first was not sent, see [`Failure::NotSent`].
    NotSent,
    /// No further attempt was made although the failure was retryable.
    Refused(RetryRefused),
}

impl Retry {
    /// `attempts` includes the first one: 1 means no retry. Zero is taken as 1. Without a budget only the attempts and
    /// the deadline bound the retries.
    pub fn new(attempts: u32, backoff: Backoff, budget: Option<Arc<Budget>>) -> Self {
        Self { attempts: attempts.max(1), backoff, budget }
    }

    /// Calls `operation` until it succeeds, fails with a failure that is not retryable, is not sent, or a bound is
    /// reached. Its argument is the number of the attempt, from 1. `judge` classifies a failure, `chance` is called for
    /// each wait, and `outcome` for each retry.
    ///
    /// # Errors
    /// The error of the last attempt that was sent: a refused attempt after one whose effect is in doubt must not make
    /// it look as if nothing was sent. If none was sent, the error of the first attempt.
    pub async fn call<T, E, Operation, Attempt>(
        &self,
        deadline: Deadline,
        chance: impl Fn() -> f64,
        judge: impl Fn(&E) -> Failure,
        outcome: impl Fn(RetryOutcome),
        mut operation: Operation,
    ) -> Result<T, E>
    where
        Operation: FnMut(u32) -> Attempt,
        Attempt: Future<Output = Result<T, E>>,
    {
        let result = operation(1).await;
        let (mut error, mut failure) = match self.first(result, &judge) {
            Ok(value) => return Ok(value),
            Err(failed) => failed,
        };
        let mut attempt = 1;
        while failure == Failure::Retryable {
            if let Err(refused) = self.wait(attempt, deadline, &chance).await {
                // Running out of attempts is expected and not counted as a refusal.
                if refused != RetryRefused::Attempts {
                    outcome(RetryOutcome::Refused(refused));
                }
                break;
            }
            attempt += 1;
            let again = match operation(attempt).await {
                Ok(value) => {
                    outcome(RetryOutcome::Succeeded);
                    return Ok(value);
                }
                Err(again) => again,
            };
            failure = judge(&again);
            if failure == Failure::NotSent {
                if let Some(budget) = &self.budget {
                    budget.put_back();
                }
                outcome(RetryOutcome::NotSent);
                break;
            }
            outcome(RetryOutcome::Failed);
            error = again;
        }
        Err(error)
    }

    /// Classifies the first attempt, and makes the deposit of a call that was sent.
    fn first<T, E>(&self, result: Result<T, E>, judge: impl Fn(&E) -> Failure) -> Result<T, (E, Failure)> {
        let result = result.map_err(|error| {
            let failure = judge(&error);
            (error, failure)
        });
        match (&self.budget, &result) {
            (Some(budget), Ok(_) | Err((_, Failure::Final | Failure::Retryable))) => budget.deposit(),
            (Some(_), Err((_, Failure::NotSent))) | (None, _) => {}
        }
        result
    }

    /// Waits for the attempt that follows `attempt`, and spends its token.
    async fn wait(&self, attempt: u32, deadline: Deadline, chance: impl Fn() -> f64) -> Result<(), RetryRefused> {
        if attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        let delay = self.backoff.delay(attempt, chance());
        if deadline.remaining(Instant::now()).is_some_and(|left| left <= delay) {
            return Err(RetryRefused::Deadline);
        }
        // The token comes last, so that a refusal for another reason costs nothing.
        let token = self.budget.as_deref().map(Budget::withdraw).transpose().map_err(|_| RetryRefused::Budget)?;
        tokio::time::sleep(delay).await;
        if let Some(token) = token {
            token.spend();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
