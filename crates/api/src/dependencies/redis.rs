//! Calls to Redis with their guards: breaker, attempts with a budget, one multiplexed connection kept open by a task.
//!
//! # In the order of time
//! ## Connect
//! [`connection`]: one task owns the connection that all requests share.
//! ## Call
//! Breaker, then at most `REDIS_ATTEMPTS` attempts, each within its time-out and all within theirs. A command may run
//! twice, and late: every one here is idempotent.
//! ## Judge
//! [`judge`] defines what each outcome means for the caller, the breaker and the connection, and whether the command
//! is retried. The caller treats every failure as a bypass.

use std::{sync::Arc, time::Duration};

use deadpool_redis::redis::{Cmd, FromRedisValue};
use resilience::{
    backoff::Backoff,
    budget::Budget,
    deadline::Deadline,
    retry::{Failure, Retry},
    timeout::{Expired, within},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

mod connection;
pub mod judge;
mod settling;
pub mod tracking;

pub use self::judge::RedisError;
use self::{
    connection::SharedConnection,
    judge::{Connection, Signal, signal},
    settling::Settling,
    tracking::{ChangeListener, Tracking},
};
use super::{
    LogLevel, Verdict,
    guard::{Durations, Guard, Retries, settle},
    knowledge::{Change, Knowledge},
};
use crate::{
    config::{LimitsConfig, RedisConfig},
    metrics::Metrics,
};

/// The name in metrics, logs and health.
pub const REDIS: &str = "redis";

/// tokio's timer has a resolution of one millisecond and rounds up. Ending this much earlier keeps all attempts within
/// their time limit.
const TIMER_RESERVE: Duration = Duration::from_millis(3);
/// Waits between attempts: short compared with an attempt of 40 ms, long enough for a connection to be replaced.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(8));
/// Ten retries may occur at once, and one more for every ten calls after that.
const BUDGET: (u32, f64) = (10, 0.1);

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    connection: SharedConnection,
    tracking: Tracking,
    guard: Guard,
    knowledge: Knowledge,
    settling: Settling,
    retry: Retry,
    attempt_timeout: Option<Duration>,
    timeout: Option<Duration>,
    durations: Durations,
    retries: Retries,
}

impl Redis {
    /// Creates the pool without connecting, so that the service can start while Redis is unavailable.
    ///
    /// # Errors
    /// The URL cannot be parsed (the configuration has checked it), or the pool cannot be built.
    pub fn new(
        config: &RedisConfig,
        limits: &LimitsConfig,
        instance: &str,
        metrics: &Metrics,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let budget = config.retry_budget.then(|| Arc::new(Budget::new(BUDGET.0, BUDGET.1)));
        Ok(Self(Arc::new(Inner {
            connection: SharedConnection::new(config, instance)?,
            tracking: Tracking::new(config)?,
            guard: Guard::new(REDIS, limits.breakers, metrics),
            knowledge: Knowledge::new(REDIS, metrics),
            settling: Settling::new(Instant::now()),
            retry: Retry::new(config.attempts, Backoff::new(BACKOFF.0, BACKOFF.1), budget),
            attempt_timeout: config.attempt_timeout,
            timeout: config.timeout,
            durations: Durations::new(metrics, REDIS),
            retries: Retries::new(metrics, REDIS),
        })))
    }

    /// Runs one command. It may run twice in Redis: it must be idempotent.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub(crate) async fn call<T: FromRedisValue>(&self, deadline: Deadline, command: &Cmd) -> Result<T, RedisError> {
        self.call_at(Instant::now(), deadline, command).await
    }

    /// As [`call`](Self::call), for a caller that has just asked the clock: `start` is the current time.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub(crate) async fn call_at<T: FromRedisValue>(
        &self,
        start: Instant,
        deadline: Deadline,
        command: &Cmd,
    ) -> Result<T, RedisError> {
        let inner = &*self.0;
        let until = deadline.minus(TIMER_RESERVE);
        let deadline = deadline.child(start, inner.timeout).minus(TIMER_RESERVE);
        #[expect(clippy::disallowed_methods, reason = "the jitter of a real wait; the laws are tested in `resilience`")]
        let chance = fastrand::f64;
        let failure = |signal: &Signal| match signal.ruling() {
            ruling if ruling.connection == Connection::None => Failure::NotSent,
            ruling if ruling.again => Failure::Retryable,
            _ => Failure::Final,
        };
        let outcome = |outcome| inner.retries.count(outcome);
        let attempt = |number| {
            let now = if number == 1 { start } else { Instant::now() };
            inner.attempt(now, deadline, until, command)
        };
        let result = inner.retry.call(deadline, chance, failure, outcome, attempt).await;
        let ruling = result.as_ref().err().copied().unwrap_or(Signal::Answered).ruling();
        inner.durations.observe(ruling.outcome, start.elapsed());
        result.map_err(|signal| signal.ruling().error.unwrap_or(RedisError::Error))
    }

    /// Whether entries may be read; false shortly after a failure, see [`settling`].
    pub(crate) fn is_settled(&self) -> bool {
        self.0.settling.is_over(Instant::now)
    }

    /// The last known state.
    pub fn knowledge(&self) -> &Knowledge {
        &self.0.knowledge
    }

    /// The breaker.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.connection.published().is_some()
    }

    /// Keeps the connection open until `stop`. `writable` runs after each probe that finds Redis taking writes.
    pub async fn maintain(self, interval: Duration, stop: CancellationToken, writable: impl AsyncFn()) {
        stop.run_until_cancelled(async {
            let mut held = None;
            let mut was_up = false;
            loop {
                let observed = self.0.connection.maintain(&mut held).await;
                let takes_writes = observed.up && observed.writable;
                // A full Redis leaves no old entries: it still deletes the entries that it cannot replace.
                let still_deletes = observed.reason == connection::FULL;
                was_up |= observed.up;
                if self.0.knowledge.record(observed) == Change::CameUp {
                    self.0.guard.invite();
                }
                if takes_writes {
                    writable().await;
                    self.0.settling.recovered(Instant::now());
                } else if was_up && !still_deletes {
                    self.0.settling.trouble();
                }
                self.0.knowledge.next_turn(interval).await;
            }
        })
        .await;
    }

    /// Reports changed keys that begin with `prefix` to `listener` until `stop`. `heartbeat` must be a command that
    /// Redis refuses whenever it refuses writes.
    pub(crate) async fn track(
        self,
        prefix: &'static str,
        heartbeat: Cmd,
        listener: impl ChangeListener + Clone,
        stop: CancellationToken,
    ) {
        let notice = |signal: Signal| self.0.notice(signal);
        stop.run_until_cancelled(self.0.tracking.run(prefix, &heartbeat, &listener, notice)).await;
        listener.lost();
    }

    /// Closes the connection.
    pub fn close(&self) {
        self.0.connection.close();
    }
}

impl Inner {
    async fn attempt<T: FromRedisValue>(
        &self,
        now: Instant,
        deadline: Deadline,
        until: Deadline,
        command: &Cmd,
    ) -> Result<T, Signal> {
        let admitted = self.guard.admit(now).map_err(|_| Signal::BreakerOpen)?;
        let result = match deadline.cap(now, self.attempt_timeout) {
            Err(_) => return Err(Signal::NoTime),
            Ok(bound) => self.send(now, bound, until, command).await,
        };
        let verdict = result.as_ref().err().copied().unwrap_or(Signal::Answered).ruling().verdict;
        settle(admitted, verdict);
        if let Err(signal) = &result {
            self.notice(*signal);
        }
        result
    }

    /// The state of Redis that a failed command reveals before the next probe.
    fn notice(&self, signal: Signal) {
        match signal {
            // Request a probe, and do not use entries until it has ended.
            Signal::RefusesWrites if self.knowledge.is_up() => {
                self.settling.trouble();
                self.knowledge.suspect();
            }
            _ if signal.ruling().verdict == Verdict::Failure => self.knowledge.suspect(),
            _ => {}
        }
    }

    async fn send<T: FromRedisValue>(
        &self,
        now: Instant,
        bound: Option<Duration>,
        until: Deadline,
        command: &Cmd,
    ) -> Result<T, Signal> {
        let Some(published) = self.connection.published() else {
            return Err(Signal::NoConnection);
        };
        let mut connection = (*published).clone();
        let error = match within(now, bound, until, command.query_async(&mut connection)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => error,
            Err(Expired::Silent) => return Err(Signal::Silent),
            Err(Expired::Stalled) => return Err(Signal::Stalled),
        };
        let signal = signal(&error);
        let ruling = signal.ruling();
        if ruling.connection == Connection::Discarded {
            self.connection.unpublish(&published);
        }
        let name: &str = signal.into();
        match ruling.level {
            LogLevel::Debug => tracing::debug!(dependency = REDIS, signal = name, error = %error, "command failed"),
            LogLevel::Warn => tracing::warn!(dependency = REDIS, signal = name, error = %error, "command failed"),
            LogLevel::Error => tracing::error!(dependency = REDIS, signal = name, error = %error, "command failed"),
        }
        Err(signal)
    }
}
