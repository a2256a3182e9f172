//! Retries bounded by attempts, budget and remaining deadline. Each bound has its own reason for a refusal.
//!
//! # In the order of time
//! ## First attempt
//! [`Retry::call`] runs it. The caller says what a failure is worth: see [`Failure`]. A call of which something was
//! sent makes its deposit in the budget, also one that failed; a call that was refused before it was sent makes none,
//! so that an open breaker does not fill the budget for the time after it. A call that is cancelled under way makes
//! none either.
//! ## Wait
//! After a retryable failure: is an attempt left, is the wait shorter than what remains of the deadline, does the
//! budget hold a token? A call that is cancelled in the wait puts its token back: nothing was sent for it.
//! ## Next attempt
//! The token is spent as the attempt begins: one that is cancelled under way may have been sent. If it turns out that
//! it was not sent, the token goes back, and the call ends: nothing is tried again that was not sent, so nothing is
//! retried into an open breaker.
//!
//! The caller's hook receives the outcome of each retry. The caller must pass idempotent operations only.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{backoff::Backoff, budget::Budget, deadline::Deadline};

/// How often and when to try again. Clones share the budget.
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
    /// It was sent, and another attempt would end in the same way.
    Final,
    /// It was sent, or may have been, and another attempt may succeed.
    Retryable,
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
    /// An attempt after the first was sent and failed.
    Failed,
    /// An attempt after the first was not sent, see [`Failure::NotSent`].
    NotSent,
    /// There was no further attempt although the failure was retryable.
    Refused(RetryRefused),
}

impl Retry {
    /// `attempts` counts the first one: 1 means no retry. Zero is taken as 1. Without a budget only the attempts and
    /// the deadline bound the retries.
    pub fn new(attempts: u32, backoff: Backoff, budget: Option<Arc<Budget>>) -> Self {
        Self { attempts: attempts.max(1), backoff, budget }
    }

    /// Calls `operation` until it succeeds, fails finally, is not sent, or a bound is reached. Its argument is the
    /// number of the attempt, from 1. `judge` classifies a failure, `chance` is called for each wait, and `outcome` for
    /// each retry.
    ///
    /// # Errors
    /// The error of the last attempt that was sent: an attempt that was refused after one whose effect is in doubt must
    /// not make it look as if nothing had been sent. The error of the first attempt when none was sent.
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
                // Running out of attempts is the plan, not a refusal.
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

    /// Judges the first attempt, and makes the deposit of a call that was sent.
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
