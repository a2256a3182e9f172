//! Calls to Postgres with their guards: breaker, bounded acquire, bounded statement, at most one retry.
//!
//! # In the order of time
//! ## Admit
//! The breaker refuses the call while Postgres does not answer. A write is not sent while Postgres is known to be
//! read-only.
//! ## Acquire
//! A connection is taken from the [`pool`] within the acquire time-out. A write pings a connection that was used
//! before, because a write that was sent cannot be retried.
//! ## Run
//! The statement runs within the statement time-out. Postgres enforces it itself. The client waits a little longer, so
//! that it receives the server's own answer if there is one, and can keep the connection.
//! ## Judge
//! [`judge`] defines what each outcome means for the caller, the breaker and the connection, and whether the statement
//! is retried once within the deadline. If the load caused the failure, the retry also needs a token of the retry
//! budget.

use std::{
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use resilience::{
    breaker::BreakerState,
    budget::{Budget, Token},
    deadline::Deadline,
};
use secrecy::ExposeSecret;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, postgres::PgConnectOptions};
use tokio::time::Instant;

pub mod judge;
mod pool;
mod prober;

pub use self::judge::{Access, DatabaseError};
use self::{
    judge::{Again, Connection, Signal, Stage, signal},
    pool::{ConnectionPool, Lease, NotAcquired},
};
use super::{
    CallOutcome, LogLevel, Verdict,
    guard::{Durations, Guard, Retries, settle, within},
    knowledge::Knowledge,
};
use crate::{
    config::{DatabaseConfig, LimitsConfig},
    metrics::Metrics,
};

/// The name in metrics, logs, problems and health.
pub const POSTGRES: &str = "postgres";

/// How much longer the client waits for a statement than Postgres does: time for a round trip and a scheduling delay.
const STATEMENT_GRACE: Duration = Duration::from_millis(25);

/// The part of a deadline that is reserved for writing the answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(15);

/// The budget for retries of transactions that lost a conflict: ten at once, then one more for every ten statements.
const BUDGET: (u32, f64) = (10, 0.1);

/// One statement in one transaction. It may be sent twice.
pub(crate) trait Statement: Sync {
    /// Whether it reads or writes.
    const ACCESS: Access;
    /// The result.
    type Output: Send;

    /// Runs it on `connection`.
    fn run(&self, connection: &mut PgConnection) -> impl Future<Output = sqlx::Result<Self::Output>> + Send;
}

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: Arc<ConnectionPool>,
    guard: Guard,
    knowledge: Knowledge,
    durations: Durations,
    retries: Retries,
    budget: Option<Budget>,
    acquire_timeout: Option<Duration>,
    statement_timeout: Option<Duration>,
    /// Whether a statement was answered since the last probe.
    answered: AtomicBool,
}

/// One attempt: its result, its signal, and the connection if a retry may use it.
struct Attempt<T> {
    result: Result<T, DatabaseError>,
    signal: Signal,
    error: Option<sqlx::Error>,
    lease: Option<Lease>,
}

impl Postgres {
    /// Creates the pool without connecting, so that the service can start while Postgres is unavailable.
    ///
    /// # Errors
    /// The URL cannot be parsed. The configuration has already checked it.
    pub fn new(
        config: &DatabaseConfig,
        limits: &LimitsConfig,
        retry_budget: bool,
        instance: &str,
        metrics: &Metrics,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut options = connect_options(config, instance)?;
        for (name, timeout) in [("statement_timeout", config.statement_timeout), ("lock_timeout", config.lock_timeout)]
        {
            if let Some(timeout) = timeout {
                options = options.options([(name, format!("{}ms", timeout.as_millis()).as_str())]);
            }
        }
        metrics.pool_connections.with_label_values(&[POSTGRES, "max"]).set(i64::from(config.max_connections));
        Ok(Self(Arc::new(Inner {
            pool: Arc::new(ConnectionPool::new(options, config.max_connections)?),
            guard: Guard::new(POSTGRES, limits.breakers, metrics),
            knowledge: Knowledge::new(POSTGRES, metrics),
            durations: Durations::new(metrics, POSTGRES),
            retries: Retries::new(metrics, POSTGRES),
            budget: retry_budget.then(|| Budget::new(BUDGET.0, BUDGET.1)),
            acquire_timeout: config.acquire_timeout,
            statement_timeout: config.statement_timeout,
            answered: AtomicBool::new(false),
        })))
    }

    /// Runs a statement within the deadline and the statement time-out.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub(crate) async fn run<S: Statement>(
        &self,
        deadline: Deadline,
        statement: &S,
    ) -> Result<S::Output, DatabaseError> {
        let inner = &*self.0;
        let start = Instant::now();
        if S::ACCESS == Access::Write && !inner.knowledge.is_writable() {
            inner.durations.observe(CallOutcome::ReadOnly, Duration::ZERO);
            return Err(DatabaseError::ReadOnly);
        }
        let Ok(admitted) = inner.guard.admit(start) else {
            inner.durations.observe(CallOutcome::BreakerOpen, Duration::ZERO);
            return Err(DatabaseError::NotAsked);
        };
        let (result, signal) = inner.run_with_retry(deadline.minus(ANSWER_RESERVE), statement).await;
        let ruling = signal.ruling();
        settle(admitted, ruling.verdict);
        inner.durations.observe(ruling.outcome, start.elapsed());
        match ruling.verdict {
            Verdict::Success => inner.answered.store(true, Ordering::Relaxed),
            Verdict::Failure => inner.knowledge.suspect(),
            // Only the prober can tell whether Postgres is up, and it may not have probed since.
            Verdict::Ignored if ruling.connection == Connection::AllDistrusted => inner.knowledge.suspect(),
            Verdict::Ignored => {}
        }
        result
    }

    /// The last known state.
    pub fn knowledge(&self) -> &Knowledge {
        &self.0.knowledge
    }

    /// The breaker.
    pub fn guard(&self) -> &Guard {
        &self.0.guard
    }

    /// Connections: (idle, in use).
    pub fn connections(&self) -> (usize, usize) {
        self.0.pool.counts()
    }

    /// Closes the pool: idle connections now, the others as they come back.
    pub fn close(&self) {
        self.0.pool.close();
    }
}

impl Inner {
    /// Makes one attempt, and a second one if the table of signals and the bounds allow it.
    async fn run_with_retry<S: Statement>(
        &self,
        deadline: Deadline,
        statement: &S,
    ) -> (Result<S::Output, DatabaseError>, Signal) {
        let first = self.attempt(deadline, None, statement).await;
        let ruling = first.signal.ruling();
        // A call that was not sent makes no deposit.
        if let Some(budget) = self.budget.as_ref().filter(|_| ruling.connection != Connection::None) {
            budget.deposit();
        }
        let again = ruling.again;
        if again == Again::No || !self.may_try_again(again, deadline) {
            if let Some(lease) = first.lease {
                lease.give_back();
            }
            return (first.result, first.signal);
        }
        let lease = match (again, first.lease) {
            (Again::Prepared, Some(lease)) => self.forget_statements(deadline, lease).await,
            (Again::Transaction, lease) => lease,
            (Again::Prepared | Again::FreshConnection | Again::No, _) => None,
        };
        // The box keeps the future small: there is hardly ever a second attempt.
        let second = Box::pin(self.attempt(deadline, lease, statement)).await;
        match &second.result {
            Ok(_) => self.retries.succeeded.inc(),
            Err(_) if second.signal.ruling().connection == Connection::None => self.retries.not_sent.inc(),
            Err(_) => self.retries.failed.inc(),
        }
        match second.signal {
            // The second attempt had no old plan, so the cause is a defect of this service.
            Signal::StalePlan => {
                log(Signal::OwnDefect, second.error.as_ref());
                (second.result, Signal::OwnDefect)
            }
            signal => (second.result, signal),
        }
    }

    /// Whether deadline, breaker and budget allow a second attempt.
    fn may_try_again(&self, again: Again, deadline: Deadline) -> bool {
        if deadline.cap(Instant::now(), None).is_err() {
            self.retries.refused_deadline.inc();
            return false;
        }
        // Other requests have opened the breaker in the meantime.
        if self.guard.state() == BreakerState::Open {
            self.retries.not_sent.inc();
            return false;
        }
        // Other reasons need no budget: each connection ends, or has an old plan, only once.
        let budget = self.budget.as_ref().filter(|_| again == Again::Transaction);
        match budget.map(Budget::withdraw).transpose() {
            Ok(token) => drop(token.map(Token::spend)),
            Err(_) => {
                self.retries.refused_budget.inc();
                return false;
            }
        }
        true
    }

    async fn attempt<S: Statement>(
        &self,
        deadline: Deadline,
        lease: Option<Lease>,
        statement: &S,
    ) -> Attempt<S::Output> {
        let taken = Instant::now();
        let mut lease = match lease {
            Some(lease) => lease,
            None => match self.acquire(taken, deadline, S::ACCESS).await {
                Ok(lease) => lease,
                Err(not) => return self.failed(taken, not.signal, not.error, None),
            },
        };
        let stage = if lease.is_fresh { Stage::OnFresh } else { Stage::OnReused };
        let Ok(bound) = deadline.cap(Instant::now(), self.statement_bound()) else {
            lease.give_back();
            return self.failed(taken, Signal::NoTime, None, None);
        };
        match within(bound, statement.run(lease.connection())).await {
            Some(Ok(value)) => {
                lease.give_back();
                Attempt { result: Ok(value), signal: Signal::Answered, error: None, lease: None }
            }
            Some(Err(error)) => self.failed(taken, signal(&error, stage, S::ACCESS), Some(error), Some(lease)),
            None => self.failed(taken, Signal::Silent, None, Some(lease)),
        }
    }

    /// Acquires a connection; for a write one that has answered a ping or is new.
    async fn acquire(&self, now: Instant, deadline: Deadline, access: Access) -> Result<Lease, NotAcquired> {
        let lease = self.acquire_any(now, deadline).await?;
        if access == Access::Read || lease.is_fresh {
            return Ok(lease);
        }
        let taken = Instant::now();
        let mut lease = lease;
        let late = |_| NotAcquired { signal: Signal::NoTime, error: None };
        let bound = deadline.cap(taken, self.statement_bound()).map_err(late)?;
        match within(bound, lease.connection().ping()).await {
            Some(Ok(())) => Ok(lease),
            Some(Err(_)) => {
                drop(lease);
                self.pool.distrust(taken);
                self.acquire_any(Instant::now(), deadline).await
            }
            // Only a ping was sent, so the write is not in doubt.
            None => Err(NotAcquired { signal: Signal::ConnectTimeout, error: None }),
        }
    }

    async fn acquire_any(&self, now: Instant, deadline: Deadline) -> Result<Lease, NotAcquired> {
        let Ok(bound) = deadline.cap(now, self.acquire_timeout) else {
            return Err(NotAcquired { signal: Signal::NoTime, error: None });
        };
        self.pool.acquire(bound).await.map_err(|not| {
            // Both hanging and working connections can fill the pool, and connecting is slow both on a busy machine and
            // to a Postgres that hangs. The prober's state distinguishes these cases.
            let signal = match (not.signal, self.knowledge.is_up()) {
                (Signal::ConnectTimeout, true) => Signal::ConnectSlow,
                (Signal::PoolFull, false) => Signal::ConnectTimeout,
                (signal, _) => signal,
            };
            if matches!(signal, Signal::PoolFull | Signal::ConnectSlow) {
                self.knowledge.suspect();
            }
            NotAcquired { signal, ..not }
        })
    }

    /// Keeps or closes the connection according to the table, and logs the failure.
    fn failed<T>(
        &self,
        taken: Instant,
        signal: Signal,
        error: Option<sqlx::Error>,
        lease: Option<Lease>,
    ) -> Attempt<T> {
        let ruling = signal.ruling();
        log(signal, error.as_ref());
        if ruling.connection == Connection::AllDistrusted {
            self.pool.distrust(taken);
        }
        let mut lease = lease.filter(|_| ruling.connection == Connection::Kept);
        if ruling.again == Again::No
            && let Some(lease) = lease.take()
        {
            lease.give_back();
        }
        Attempt { result: Err(ruling.error.unwrap_or(DatabaseError::Internal)), signal, error, lease }
    }

    /// The same connection without its prepared statements, or none if that failed.
    async fn forget_statements(&self, deadline: Deadline, mut lease: Lease) -> Option<Lease> {
        let bound = deadline.cap(Instant::now(), self.statement_bound()).ok()?;
        within(bound, lease.connection().clear_cached_statements()).await?.ok()?;
        Some(lease)
    }

    fn statement_bound(&self) -> Option<Duration> {
        self.statement_timeout.map(|timeout| timeout + STATEMENT_GRACE)
    }
}

fn log(signal: Signal, error: Option<&sqlx::Error>) {
    let name: &str = signal.into();
    let sqlstate = error.and_then(sqlx::Error::as_database_error).and_then(sqlx::error::DatabaseError::code);
    let sqlstate = sqlstate.as_deref().unwrap_or_default();
    let cause = error.map(ToString::to_string).unwrap_or_default();
    match signal.ruling().level {
        LogLevel::Debug => {
            tracing::debug!(dependency = POSTGRES, signal = name, sqlstate, error = %cause, "statement failed");
        }
        LogLevel::Warn => {
            tracing::warn!(dependency = POSTGRES, signal = name, sqlstate, error = %cause, "statement failed");
        }
        LogLevel::Error => {
            tracing::error!(dependency = POSTGRES, signal = name, sqlstate, error = %cause, "statement failed");
        }
    }
}

/// Options of every connection of this process, including the one of `api migrate`.
pub(crate) fn connect_options(config: &DatabaseConfig, instance: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(config.url.expose_secret())?
        .application_name(instance)
        // A client that disappears in the middle of a transaction must not keep its locks.
        .options([("idle_in_transaction_session_timeout", "5s")])
        // The middleware logs each request once.
        .disable_statement_logging())
}
