//! Postgres behind its guards: breaker, bounded acquire, bounded statement, a lease that cannot leak.
//!
//! # In the order of time
//! ## Admit
//! The breaker says no while Postgres is known not to answer.
//! ## Acquire
//! A connection from the pool, or a new one, within the acquire time-out. "The pool is full" and "Postgres is away" look
//! alike here (sqlx retries a refused connection until the time is over); the prober's knowledge tells them apart.
//! ## Run
//! Within the statement time-out. Postgres enforces it itself; the client waits a little longer, so that the server's own
//! answer wins whenever there is one and the connection survives.
//! ## Judge
//! [`judge`] says what each outcome means for the caller, the breaker and the connection.

use std::{
    pin::Pin,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use resilience::deadline::Deadline;
use secrecy::ExposeSecret;
use sqlx::{
    ConnectOptions, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    guard::{Durations, Guard, Verdict, settle, within},
    lease::Lease,
    prober::{Change, Knowledge, PROBE_TIMEOUT},
};
use crate::{
    config::{DatabaseConfig, LimitsConfig},
    metrics::Metrics,
};

/// Its name in metrics, logs, problems and health.
pub const POSTGRES: &str = "postgres";

/// How much longer than Postgres itself the client waits for a statement: a round trip and a late scheduler.
const STATEMENT_GRACE: Duration = Duration::from_millis(25);

/// What stays of a deadline for writing the answer itself.
const ANSWER_RESERVE: Duration = Duration::from_millis(15);

/// Opened when Postgres comes up, so that the first requests do not pay for connecting. Not sqlx's `min_connections`: that
/// opens them with a deadline of 300 s, and holds their permits for so long when Postgres falls silent.
const WARM_CONNECTIONS: usize = 2;

/// sqlx needs a number; with time-outs off this is its own default.
const NO_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Why Postgres did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be reached, or the connection broke.
    #[error("the database cannot be reached")]
    Unavailable,
    /// The breaker is open.
    #[error("the database did not answer lately and is not asked now")]
    BreakerOpen,
    /// No connection came free in time.
    #[error("no database connection came free in time")]
    AcquireTimeout,
    /// The statement took too long.
    #[error("the database did not answer in time")]
    StatementTimeout,
    /// It answered with an error that is this service's own fault; the log says which.
    #[error("the service failed")]
    Failed,
}

/// What a caller does with a connection.
pub(crate) type Statement<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Postgres(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: PgPool,
    options: PgConnectOptions,
    guard: Guard,
    knowledge: Knowledge,
    durations: Durations,
    statement_timeout: Option<Duration>,
    /// Milliseconds after `start`: connections made before are not used any more.
    distrust_before: Arc<AtomicU64>,
    start: Instant,
}

impl Postgres {
    /// Makes the pool without connecting: the service starts while Postgres is away.
    ///
    /// # Errors
    /// The URL cannot be read; the configuration has checked it.
    pub fn new(
        config: &DatabaseConfig,
        limits: &LimitsConfig,
        instance: &str,
        metrics: &Metrics,
    ) -> sqlx::Result<Self> {
        let mut options = connect_options(config, instance)?;
        if let Some(timeout) = config.statement_timeout {
            let milliseconds = format!("{}ms", timeout.as_millis());
            options = options.options([("statement_timeout", milliseconds.as_str())]);
        }
        let start = Instant::now();
        let distrust_before = Arc::new(AtomicU64::new(0));
        let trusted = Arc::clone(&distrust_before);
        let pool = PgPoolOptions::new()
            .max_connections(config.max_connections)
            .acquire_timeout(config.acquire_timeout.unwrap_or(NO_ACQUIRE_TIMEOUT))
            // The border logs each request once, with its durations.
            .acquire_slow_threshold(NO_ACQUIRE_TIMEOUT)
            // Its ping has no deadline; a dead connection shows in the statement, which has one.
            .test_before_acquire(false)
            .before_acquire(move |_, meta| {
                let age = u64::try_from(meta.age.as_millis()).unwrap_or(u64::MAX);
                let made = millis_since(start).saturating_sub(age);
                let keep = made >= trusted.load(Ordering::Relaxed);
                Box::pin(async move { Ok(keep) })
            })
            .connect_lazy_with(options.clone());
        metrics.pool_connections.with_label_values(&[POSTGRES, "max"]).set(i64::from(config.max_connections));
        Ok(Self(Arc::new(Inner {
            pool,
            options,
            guard: Guard::new(POSTGRES, limits.breakers, metrics),
            knowledge: Knowledge::new(POSTGRES, metrics),
            durations: Durations::new(metrics, POSTGRES),
            statement_timeout: config.statement_timeout,
            distrust_before,
            start,
        })))
    }

    /// Runs statements on a connection, within the deadline and the statement time-out.
    ///
    /// # Errors
    /// See [`DatabaseError`].
    pub(crate) async fn run<T, F>(&self, deadline: Deadline, operation: F) -> Result<T, DatabaseError>
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> Statement<'c, T>,
    {
        let inner = &*self.0;
        let start = Instant::now();
        let Ok(admitted) = inner.guard.admit(start) else {
            inner.durations.breaker_open.observe(0.0);
            return Err(DatabaseError::BreakerOpen);
        };
        let (result, verdict) = inner.attempt(start, deadline, operation).await;
        settle(admitted, verdict);
        let duration = start.elapsed().as_secs_f64();
        match &result {
            Ok(_) => inner.durations.ok.observe(duration),
            Err(DatabaseError::AcquireTimeout | DatabaseError::StatementTimeout) => {
                inner.durations.timeout.observe(duration);
            }
            Err(_) => inner.durations.error.observe(duration),
        }
        if verdict == Verdict::Failed {
            inner.knowledge.suspect();
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

    /// Connections: (idle, in use).
    pub fn connections(&self) -> (usize, usize) {
        let (size, idle) = (self.0.pool.size() as usize, self.0.pool.num_idle());
        (idle, size.saturating_sub(idle))
    }

    /// Closes the pool; the caller bounds it.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// Asks Postgres whether it answers, over a connection outside of the pool, until `stop`.
    pub async fn probe(self, interval: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            let mut connection = None;
            loop {
                self.0.probe_once(&mut connection).await;
                self.0.knowledge.next_turn(interval).await;
            }
        })
        .await;
    }
}

impl Inner {
    async fn attempt<T, F>(&self, now: Instant, deadline: Deadline, operation: F) -> (Result<T, DatabaseError>, Verdict)
    where
        F: for<'c> FnOnce(&'c mut PgConnection) -> Statement<'c, T>,
    {
        let deadline = deadline.minus(ANSWER_RESERVE);
        // The pool bounds itself with the acquire time-out; here it is bounded by what is left of the deadline.
        let Ok(bound) = deadline.cap(now, None) else {
            return (Err(DatabaseError::AcquireTimeout), Verdict::Silent);
        };
        let mut lease = match within(bound, self.pool.acquire()).await {
            Some(Ok(connection)) => Lease::new(connection),
            Some(Err(sqlx::Error::PoolTimedOut)) | None => return self.not_acquired(),
            Some(Err(error)) => {
                let judged = judge(&error);
                self.note(&judged, &error);
                return (Err(judged.error), judged.verdict);
            }
        };
        let own = self.statement_timeout.map(|timeout| timeout + STATEMENT_GRACE);
        let outcome = match (deadline.cap(Instant::now(), own), lease.connection()) {
            (Ok(bound), Some(connection)) => within(bound, operation(connection)).await,
            (Err(_), _) | (_, None) => {
                lease.give_back();
                return (Err(DatabaseError::AcquireTimeout), Verdict::Silent);
            }
        };
        match outcome {
            Some(Ok(value)) => {
                lease.give_back();
                (Ok(value), Verdict::Answered)
            }
            Some(Err(error)) => {
                let judged = judge(&error);
                self.note(&judged, &error);
                if judged.connection_is_good {
                    lease.give_back();
                } else {
                    lease.discard();
                }
                (Err(judged.error), judged.verdict)
            }
            // Not even Postgres' own time-out came back: nobody is there, or nobody who runs.
            None => {
                lease.discard();
                (Err(DatabaseError::StatementTimeout), Verdict::Failed)
            }
        }
    }

    /// The acquire ended without a connection: because Postgres is away, or because all are in use.
    fn not_acquired<T>(&self) -> (Result<T, DatabaseError>, Verdict) {
        self.knowledge.suspect();
        if self.knowledge.is_up() {
            (Err(DatabaseError::AcquireTimeout), Verdict::Silent)
        } else {
            (Err(DatabaseError::Unavailable), Verdict::Failed)
        }
    }

    fn note(&self, judged: &Judged, error: &sqlx::Error) {
        if judged.error == DatabaseError::Failed {
            tracing::error!(dependency = POSTGRES, error = %error, "statement failed");
        } else {
            tracing::debug!(dependency = POSTGRES, error = %error, "statement failed");
        }
        if judged.error == DatabaseError::Unavailable {
            self.distrust();
        }
    }

    /// Connections made until now are not used again: what broke one has most likely broken all.
    fn distrust(&self) {
        self.distrust_before.store(millis_since(self.start), Ordering::Relaxed);
    }

    /// Opens a few connections at the same time and puts them into the pool.
    async fn warm(&self) {
        let mut opening = JoinSet::new();
        for _ in 0..WARM_CONNECTIONS {
            let pool = self.pool.clone();
            opening.spawn(async move { within(Some(PROBE_TIMEOUT), pool.acquire()).await });
        }
        // Held together until all are open: one that is given back would be acquired again.
        let opened: Vec<Lease> = opening.join_all().await.into_iter().flatten().flatten().map(Lease::new).collect();
        opened.into_iter().for_each(Lease::give_back);
    }

    async fn probe_once(&self, connection: &mut Option<PgConnection>) {
        let start = Instant::now();
        let asked = tokio::time::timeout(PROBE_TIMEOUT, async {
            if let Some(mut live) = connection.take() {
                match ask(&mut live).await {
                    Ok(()) => return Ok(live),
                    // That tells of this connection, and that the others may be broken too; Postgres is asked anew.
                    Err(_) => self.distrust(),
                }
            }
            let mut live = self.options.connect().await?;
            ask(&mut live).await?;
            Ok::<_, sqlx::Error>(live)
        })
        .await;
        let (up, reason) = match asked {
            Ok(Ok(live)) => {
                *connection = Some(live);
                (true, "")
            }
            // "Too many connections" is an answer: Postgres is there, and full.
            Ok(Err(sqlx::Error::Database(error))) if error.code().as_deref() == Some("53300") => (true, "full"),
            Ok(Err(error)) => (false, probe_reason(&error)),
            Err(_) => (false, "timeout"),
        };
        match self.knowledge.record(up, start.elapsed(), reason) {
            Change::CameUp => {
                self.distrust();
                self.guard.invite();
                self.warm().await;
            }
            Change::WentDown | Change::None => {}
        }
    }
}

/// Options that every connection of this process shares: the probers' and the migration's too.
pub(crate) fn connect_options(config: &DatabaseConfig, instance: &str) -> sqlx::Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(config.url.expose_secret())?
        .application_name(instance)
        // A client that vanished in the middle of a transaction must not hold its locks.
        .options([("idle_in_transaction_session_timeout", "5s")])
        // The border logs each request once.
        .disable_statement_logging())
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

struct Judged {
    error: DatabaseError,
    verdict: Verdict,
    connection_is_good: bool,
}

/// What an error means for the caller, the breaker and the connection.
fn judge(error: &sqlx::Error) -> Judged {
    let judged = |error, verdict, connection_is_good| Judged { error, verdict, connection_is_good };
    let sqlx::Error::Database(database) = error else {
        // Broken connections, broken protocol, a closed pool, a name that does not resolve.
        return judged(DatabaseError::Unavailable, Verdict::Failed, false);
    };
    match database.code().as_deref().unwrap_or_default() {
        // query_canceled: our statement_timeout, most likely behind a lock.
        "57014" => judged(DatabaseError::StatementTimeout, Verdict::Failed, true),
        // Too many connections: Postgres is there, and full.
        "53300" => judged(DatabaseError::AcquireTimeout, Verdict::Silent, false),
        // Shut down by the administrator, crashed, starting up; idle in a transaction for too long.
        code if code.starts_with("57P") || code.starts_with("08") || code == "25P03" => {
            judged(DatabaseError::Unavailable, Verdict::Failed, false)
        }
        // No such table: nobody has run `api migrate` yet.
        "42P01" | "3D000" => judged(DatabaseError::Unavailable, Verdict::Answered, true),
        _ => judged(DatabaseError::Failed, Verdict::Answered, true),
    }
}

async fn ask(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("SELECT 1").execute(connection).await.map(drop)
}

fn probe_reason(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Io(_) => "unreachable",
        sqlx::Error::Database(_) => "refused",
        _ => "error",
    }
}
