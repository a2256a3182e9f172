//! Redis behind its guards: breaker, attempts with a budget, one multiplexed connection that is always being kept up.
//!
//! # In the order of time
//! ## Connect
//! One task owns the connection. It takes it from the pool (deadpool owns creation and its bounds), publishes it, asks it
//! PING twice a second, and replaces it when it broke or fell silent. Requests never connect and never wait for it: they
//! clone the published connection, which carries all of them at once. Checking a connection out of the pool for each
//! request would ping it each time, and cost two thirds of the requests per second.
//! ## Call
//! Breaker, then at most `REDIS_ATTEMPTS` attempts, each within its time-out and all within theirs.
//! ## Fail
//! Every failure is a [`RedisError`] with a word of its own; the caller makes a bypass of it.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{
        AsyncConnectionConfig, Cmd, FromRedisValue, IntoConnectionInfo, aio::MultiplexedConnection,
        io::tcp::TcpSettings,
    },
};
use prometheus::IntCounter;
use resilience::{
    backoff::Backoff,
    budget::Budget,
    deadline::Deadline,
    retry::{Retry, RetryOutcome, RetryRefused},
};
use secrecy::ExposeSecret;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    guard::{Durations, Guard, Verdict, settle, within},
    prober::{Change, Knowledge, PROBE_TIMEOUT},
};
use crate::{
    config::{LimitsConfig, RedisConfig},
    metrics::Metrics,
};

/// Its name in metrics, logs and health.
pub const REDIS: &str = "redis";

/// tokio's timer ticks once a millisecond and rounds up: ending so much earlier keeps all attempts within their time.
const TIMER_RESERVE: Duration = Duration::from_millis(3);
/// Waits between attempts: short against an attempt of 40 ms, long enough to let a connection be replaced.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(8));
/// Ten retries may come at once, and one for every ten calls after that.
const BUDGET: (u32, f64) = (10, 0.1);
/// One that serves and one in the making.
const POOL_SIZE: usize = 2;

/// Why Redis did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// There is no connection, or it broke.
    #[error("away")]
    Away,
    /// No answer in time.
    #[error("timeout")]
    Timeout,
    /// The breaker is open.
    #[error("breaker_open")]
    BreakerOpen,
    /// It answered with an error: loading, out of memory, read-only.
    #[error("error")]
    Refused,
    /// It does not know the script; the caller sends it whole.
    #[error("error")]
    UnknownScript,
}

impl RedisError {
    /// The word for `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Timeout => "timeout",
            Self::BreakerOpen => "breaker_open",
            Self::Refused | Self::UnknownScript => "error",
        }
    }
}

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Redis(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Pool,
    published: ArcSwapOption<MultiplexedConnection>,
    guard: Guard,
    knowledge: Knowledge,
    retry: Retry,
    attempt_timeout: Option<Duration>,
    timeout: Option<Duration>,
    durations: Durations,
    retries: Retries,
}

#[derive(Debug)]
struct Retries {
    succeeded: IntCounter,
    failed: IntCounter,
    refused_budget: IntCounter,
    refused_deadline: IntCounter,
}

impl Redis {
    /// Makes the pool without connecting: the service starts while Redis is away.
    ///
    /// # Errors
    /// The URL cannot be read (the configuration has checked it), or the pool cannot be built.
    pub fn new(
        config: &RedisConfig,
        limits: &LimitsConfig,
        metrics: &Metrics,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = config.url.expose_secret().into_connection_info()?.set_tcp_settings(tcp);
        // The attempts are bounded here, with numbers of ours; a second timer per command would only cost.
        let connection =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(PROBE_TIMEOUT));
        let pool = Pool::builder(Manager::new_with_config(info, connection)?)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PROBE_TIMEOUT))
            .create_timeout(Some(PROBE_TIMEOUT))
            .recycle_timeout(Some(PROBE_TIMEOUT))
            .build()?;
        let budget = config.retry_budget.then(|| Arc::new(Budget::new(BUDGET.0, BUDGET.1)));
        let retries = |outcome: &str| metrics.retries.with_label_values(&[REDIS, outcome]);
        Ok(Self(Arc::new(Inner {
            pool,
            published: ArcSwapOption::empty(),
            guard: Guard::new(REDIS, limits.breakers, metrics),
            knowledge: Knowledge::new(REDIS, metrics),
            retry: Retry::new(config.attempts, Backoff::new(BACKOFF.0, BACKOFF.1), budget),
            attempt_timeout: config.attempt_timeout,
            timeout: config.timeout,
            durations: Durations::new(metrics, REDIS),
            retries: Retries {
                succeeded: retries("succeeded"),
                failed: retries("failed"),
                refused_budget: retries("refused_budget"),
                refused_deadline: retries("refused_deadline"),
            },
        })))
    }

    /// Runs one command. It may run twice in Redis: it must be idempotent.
    ///
    /// # Errors
    /// See [`RedisError`].
    pub(crate) async fn call<T: FromRedisValue>(&self, deadline: Deadline, command: &Cmd) -> Result<T, RedisError> {
        let inner = &*self.0;
        let start = Instant::now();
        let deadline = deadline.child(start, inner.timeout).minus(TIMER_RESERVE);
        #[expect(clippy::disallowed_methods, reason = "the jitter of a real wait; the laws are tested in `resilience`")]
        let chance = fastrand::f64;
        let retryable = |error: &RedisError| matches!(error, RedisError::Timeout | RedisError::Away);
        let outcome = |outcome| inner.retries.count(outcome);
        let result = inner.retry.call(deadline, chance, retryable, outcome, |_| inner.attempt(deadline, command)).await;
        let duration = start.elapsed().as_secs_f64();
        match &result {
            Ok(_) | Err(RedisError::UnknownScript) => inner.durations.ok.observe(duration),
            Err(RedisError::Timeout) => inner.durations.timeout.observe(duration),
            Err(RedisError::BreakerOpen) => inner.durations.breaker_open.observe(duration),
            Err(RedisError::Away | RedisError::Refused) => inner.durations.error.observe(duration),
        }
        result
    }

    /// What the prober knows.
    pub fn knowledge(&self) -> &Knowledge {
        &self.0.knowledge
    }

    /// The breaker.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Whether there is a connection.
    pub fn is_connected(&self) -> bool {
        self.0.published.load().is_some()
    }

    /// Keeps the connection up, until `stop`.
    pub async fn maintain(self, interval: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut held = None;
            loop {
                self.0.maintain_once(&mut held).await;
                self.0.knowledge.next_turn(interval).await;
            }
        })
        .await;
        self.0.published.store(None);
        self.0.pool.close();
    }
}

impl Inner {
    async fn attempt<T: FromRedisValue>(&self, deadline: Deadline, command: &Cmd) -> Result<T, RedisError> {
        let now = Instant::now();
        let admitted = self.guard.admit(now).map_err(|_| RedisError::BreakerOpen)?;
        let (result, verdict) = match deadline.cap(now, self.attempt_timeout) {
            Err(_) => (Err(RedisError::Timeout), Verdict::Silent),
            Ok(bound) => self.send(bound, command).await,
        };
        settle(admitted, verdict);
        if verdict == Verdict::Failed {
            self.knowledge.suspect();
        }
        result
    }

    async fn send<T: FromRedisValue>(
        &self,
        bound: Option<Duration>,
        command: &Cmd,
    ) -> (Result<T, RedisError>, Verdict) {
        let Some(published) = self.published.load_full() else {
            return (Err(RedisError::Away), Verdict::Failed);
        };
        let mut connection = (*published).clone();
        match within(bound, command.query_async(&mut connection)).await {
            Some(Ok(value)) => (Ok(value), Verdict::Answered),
            None => (Err(RedisError::Timeout), Verdict::Failed),
            Some(Err(error)) if error.is_unrecoverable_error() || error.is_io_error() => {
                self.unpublish(&published);
                (Err(RedisError::Away), Verdict::Failed)
            }
            Some(Err(error)) if error.code() == Some("NOSCRIPT") => (Err(RedisError::UnknownScript), Verdict::Answered),
            Some(Err(error)) => {
                tracing::debug!(dependency = REDIS, error = %error, "command refused");
                (Err(RedisError::Refused), Verdict::Failed)
            }
        }
    }

    /// Takes a broken connection away, unless it has been replaced already.
    fn unpublish(&self, broken: &Arc<MultiplexedConnection>) {
        self.published.compare_and_swap(broken, None);
    }

    /// Asks the held connection, or makes a new one and publishes it.
    async fn maintain_once(&self, held: &mut Option<deadpool_redis::Connection>) {
        let start = Instant::now();
        let mut reason = "";
        if self.published.load().is_none() {
            release(held.take());
        }
        if let Some(connection) = held {
            match ping(connection).await {
                Ok(()) => return self.saw(true, start, ""),
                Err(why) => reason = why,
            }
        }
        // The silent connection stays published until there is a better one: requests find out by their own time-outs.
        match tokio::time::timeout(PROBE_TIMEOUT, self.pool.get()).await {
            Ok(Ok(mut connection)) => {
                reason = match ping(&mut connection).await {
                    Ok(()) => {
                        self.published.store(Some(Arc::new((*connection).clone())));
                        release(held.replace(connection));
                        return self.saw(true, start, "");
                    }
                    Err(why) => {
                        release(Some(connection));
                        why
                    }
                };
            }
            Ok(Err(_)) if reason.is_empty() => reason = "unreachable",
            Err(_) if reason.is_empty() => reason = "timeout",
            Ok(Err(_)) | Err(_) => {}
        }
        self.saw(false, start, reason);
    }

    fn saw(&self, up: bool, start: Instant, reason: &'static str) {
        if self.knowledge.record(up, start.elapsed(), reason) == Change::CameUp {
            self.guard.invite();
        }
    }
}

/// Ends a connection instead of giving it back: the pool would hand it out again.
fn release(connection: Option<deadpool_redis::Connection>) {
    drop(connection.map(deadpool_redis::Connection::take));
}

async fn ping(connection: &mut deadpool_redis::Connection) -> Result<(), &'static str> {
    let mut command = Cmd::new();
    command.arg("PING");
    match tokio::time::timeout(PROBE_TIMEOUT, command.query_async::<()>(connection)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if error.is_io_error() || error.is_unrecoverable_error() => Err("unreachable"),
        Ok(Err(_)) => Err("refused"),
        Err(_) => Err("timeout"),
    }
}

impl Retries {
    fn count(&self, outcome: RetryOutcome) {
        match outcome {
            RetryOutcome::Succeeded => self.succeeded.inc(),
            RetryOutcome::Failed => self.failed.inc(),
            RetryOutcome::Refused(RetryRefused::Budget) => self.refused_budget.inc(),
            RetryOutcome::Refused(RetryRefused::Deadline) => self.refused_deadline.inc(),
            RetryOutcome::Refused(RetryRefused::Attempts) => {}
        }
    }
}
