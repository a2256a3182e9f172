//! The connection pool. deadpool bounds the number of connections; this file decides which ones may be reused.
//!
//! # In the order of time
//! ## Acquire
//! Acquiring returns the most recently used idle connection, or a new one, within a bound. When Postgres has no
//! connection left, the pool tries again with growing waits, because one of its own connections may become idle.
//! Connecting continues when the request that began it gives up; otherwise no request would ever get a connection on an
//! overloaded machine. The finished connection is a *spare*, and the next request takes it.
//! ## Held
//! A [`Lease`] that is dropped was cancelled in the middle of a statement, or broke. Its connection is closed at once
//! and its place is free. This sends no message to Postgres and starts no task.
//! ## Given back
//! [`Lease::give_back`] returns a connection that is known to be idle, without a message. sqlx's own pool sends a
//! message and waits for the answer each time, in a separate task. That halves the throughput, and never ends while
//! Postgres does not answer.
//! ## Used again
//! [`Connector::recycle`] decides without a message to Postgres. It refuses a connection that is too old, or that was
//! made before the time given to [`distrust`](ConnectionPool::distrust).

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot},
    time::Instant,
};

use super::judge::{Access, Signal, Stage, signal};
use crate::dependencies::guard::within;

/// A connection older than this is replaced, which frees the memory of its session and applies new settings of its
/// role.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 60);

/// A connection that is idle for this long is closed, because another replica may need its place in Postgres. The
/// connection that the prober uses twice a second stays open.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

/// The first and the longest wait between two attempts while Postgres has no connection left.
const FULL_WAIT: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(40));

/// While Postgres has no connection left, one attempt to connect is made in this time.
const FULL_PAUSE: Duration = Duration::from_millis(40);

/// For this long after Postgres refused a connection because it had none left, connecting that takes too long counts as
/// the same: two probes, which renew it while it lasts.
const FULL_MEMORY: Duration = Duration::from_secs(1);

/// The bound of one connection attempt, independent of the waiting request. A healthy Postgres needs milliseconds, a
/// busy machine tens of milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// Makes connections, and decides which may be used again.
#[derive(Debug, Clone)]
pub(super) struct Connector(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    options: PgConnectOptions,
    start: Instant,
    /// Microseconds after `start`. Connections made earlier are not reused.
    trusted_from: AtomicU64,
    /// One permit for each connection that exists or is being made.
    places: Arc<Semaphore>,
    spares: Mutex<Vec<PooledConnection>>,
    spare_made: Notify,
    /// Microseconds after `start` until which Postgres counts as full; 0: not full.
    full_until: AtomicU64,
    /// Microseconds after `start` at which Postgres was last known to be full; 0: never.
    full_at: AtomicU64,
    /// Microseconds after `start` at which Postgres last accepted or refused a connection; 0: never.
    answered_at: AtomicU64,
}

/// Why no connection was made.
#[derive(Debug)]
pub(super) enum NotMade {
    /// Postgres had no connection left a moment ago and was not asked again.
    Full,
    /// Connecting failed.
    Failed(sqlx::Error),
}

/// A connection, and the time at which connecting began.
#[derive(Debug)]
pub(super) struct PooledConnection {
    connection: PgConnection,
    at: Instant,
    #[expect(dead_code, reason = "held for its drop")]
    place: OwnedSemaphorePermit,
}

/// The pool, with a bounded number of connections.
#[derive(Debug)]
pub(super) struct ConnectionPool {
    pool: Pool<Connector>,
    /// One permit for each connection that may be in use, so that deadpool itself never waits.
    turns: Arc<Semaphore>,
}

/// A connection in use. It is closed if the lease is dropped without [`Lease::give_back`].
#[derive(Debug)]
pub(super) struct Lease {
    object: Option<Object<Connector>>,
    /// Whether it was made for this lease.
    pub(super) is_fresh: bool,
    _turn: OwnedSemaphorePermit,
}

/// No connection could be acquired: the signal, and the error if there is one.
#[derive(Debug)]
pub(super) struct NotAcquired {
    pub(super) signal: Signal,
    pub(super) error: Option<sqlx::Error>,
}

impl Manager for Connector {
    type Type = PooledConnection;
    type Error = NotMade;

    async fn create(&self) -> Result<PooledConnection, NotMade> {
        let place = loop {
            if let Some(spare) = self.take_spare() {
                return Ok(spare);
            }
            tokio::select! {
                place = Arc::clone(&self.0.places).acquire_owned() => break place.map_err(|_| closed())?,
                () = self.0.spare_made.notified() => {}
            }
        };
        if !self.may_connect(Instant::now()) {
            return Err(NotMade::Full);
        }
        let (give, take) = oneshot::channel();
        let connector = self.clone();
        tokio::spawn(async move {
            let given_up = give.send(connector.connect(place).await);
            if let Err(Ok(pooled)) = given_up {
                connector.spares().push(pooled);
                connector.0.spare_made.notify_one();
            }
        });
        take.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn recycle(&self, pooled: &mut PooledConnection, _metrics: &Metrics) -> RecycleResult<NotMade> {
        if self.is_usable(pooled) { Ok(()) } else { Err(RecycleError::message("too old, or made before others broke")) }
    }
}

impl Connector {
    async fn connect(&self, place: OwnedSemaphorePermit) -> Result<PooledConnection, NotMade> {
        let at = Instant::now();
        let connected = within(Some(CONNECT_TIMEOUT), self.0.options.connect()).await;
        let connected = connected.unwrap_or_else(|| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())));
        let is_full = connected
            .as_ref()
            .is_err_and(|error| signal(error, Stage::Connecting, Access::Read) == Signal::TooManyConnections);
        let now = Instant::now();
        if is_full {
            self.note_full(now);
        }
        if matches!(connected, Ok(_) | Err(sqlx::Error::Database(_))) {
            self.0.answered_at.store(self.micros(now), Ordering::Relaxed);
        }
        let until = if is_full { self.micros(now + FULL_PAUSE) } else { 0 };
        self.0.full_until.store(until, Ordering::Relaxed);
        connected.map(|connection| PooledConnection { connection, at, place }).map_err(NotMade::Failed)
    }

    /// Whether to ask Postgres for a connection at `now`. While it is full, one request per [`FULL_PAUSE`] does: each
    /// attempt costs Postgres a process and a password check, which a crowd of requests would repeat until nothing
    /// else gets through.
    fn may_connect(&self, now: Instant) -> bool {
        let until = self.0.full_until.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let next = self.micros(now + FULL_PAUSE);
        until <= self.micros(now)
            && self.0.full_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn note_full(&self, at: Instant) {
        self.0.full_at.store(self.micros(at), Ordering::Relaxed);
    }

    /// Whether Postgres is up but gives out connections too slowly for all that wait: it was full a moment ago, or has
    /// answered another attempt since `start`.
    fn is_short_of_connections(&self, start: Instant) -> bool {
        let is_after = |at: &AtomicU64, moment: Instant| {
            let at = at.load(Ordering::Relaxed);
            at != 0 && at >= self.micros(moment)
        };
        let lately = Instant::now().checked_sub(FULL_MEMORY).unwrap_or(self.0.start);
        is_after(&self.0.full_at, lately) || is_after(&self.0.answered_at, start)
    }

    fn take_spare(&self) -> Option<PooledConnection> {
        let mut spares = self.spares();
        std::iter::from_fn(|| spares.pop()).find(|pooled| self.is_usable(pooled))
    }

    fn is_usable(&self, pooled: &PooledConnection) -> bool {
        self.micros(pooled.at) >= self.0.trusted_from.load(Ordering::Relaxed) && pooled.at.elapsed() < LONGEST_LIFE
    }

    fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0.start).as_micros()).unwrap_or(u64::MAX)
    }

    fn spares(&self) -> MutexGuard<'_, Vec<PooledConnection>> {
        self.0.spares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> NotMade {
    NotMade::Failed(sqlx::Error::PoolClosed)
}

impl ConnectionPool {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// Does not occur with this configuration: it sets no time-out that needs a runtime of deadpool's own.
    pub(super) fn new(options: PgConnectOptions, max_size: u32) -> Result<Self, deadpool::managed::BuildError> {
        let connector = Connector(Arc::new(Shared {
            options,
            start: Instant::now(),
            trusted_from: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(max_size as usize)),
            spares: Mutex::default(),
            spare_made: Notify::new(),
            full_until: AtomicU64::new(0),
            full_at: AtomicU64::new(0),
            answered_at: AtomicU64::new(0),
        }));
        let pool = Pool::builder(connector)
            .max_size(max_size as usize)
            .queue_mode(QueueMode::Lifo)
            .runtime(deadpool::Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, turns: Arc::new(Semaphore::new(max_size as usize)) })
    }

    /// Acquires a connection within `bound`; `None`: without limit.
    pub(super) async fn acquire(&self, bound: Option<Duration>) -> Result<Lease, NotAcquired> {
        let start = Instant::now();
        let mut wait = FULL_WAIT.0;
        let mut was_refused = None;
        let mut left = bound;
        loop {
            let refused = match self.try_acquire(left).await {
                Err(refused) if refused.signal == Signal::TooManyConnections => refused,
                // Postgres had no connection for this request, and that used up the time.
                Err(late)
                    if late.signal == Signal::ConnectTimeout && self.pool.manager().is_short_of_connections(start) =>
                {
                    let short = NotAcquired { signal: Signal::TooManyConnections, error: None };
                    return Err(was_refused.unwrap_or(short));
                }
                acquired => return acquired,
            };
            if bound.is_some_and(|bound| bound.saturating_sub(start.elapsed()) <= wait) {
                return Err(refused);
            }
            tokio::time::sleep(wait).await;
            was_refused = Some(refused);
            wait = (wait * 2).min(FULL_WAIT.1);
            left = bound.map(|bound| bound.saturating_sub(start.elapsed()));
        }
    }

    /// Waits for a turn and then for a connection, so that it is known which of the two took the time.
    async fn try_acquire(&self, bound: Option<Duration>) -> Result<Lease, NotAcquired> {
        let not = |signal, error| Err(NotAcquired { signal, error });
        let (turn, waited) = match Arc::clone(&self.turns).try_acquire_owned() {
            Ok(turn) => (turn, Duration::ZERO),
            Err(_) => {
                let start = Instant::now();
                match within(bound, Arc::clone(&self.turns).acquire_owned()).await {
                    Some(Ok(turn)) => (turn, start.elapsed()),
                    Some(Err(_)) => return not(Signal::Unreachable, None),
                    None => return not(Signal::PoolFull, None),
                }
            }
        };
        let left = bound.map(|bound| bound.saturating_sub(waited));
        match within(left, self.pool.get()).await {
            Some(Ok(object)) => {
                let is_fresh = Object::metrics(&object).recycle_count == 0;
                Ok(Lease { object: Some(object), is_fresh, _turn: turn })
            }
            None if left.is_some_and(|left| waited > left) => not(Signal::PoolFull, None),
            None => not(Signal::ConnectTimeout, None),
            Some(Err(PoolError::Backend(NotMade::Full))) => not(Signal::TooManyConnections, None),
            Some(Err(PoolError::Backend(NotMade::Failed(error)))) => {
                not(signal(&error, Stage::Connecting, Access::Read), Some(error))
            }
            Some(Err(
                PoolError::Timeout(_)
                | PoolError::Closed
                | PoolError::NoRuntimeSpecified
                | PoolError::PostCreateHook(_),
            )) => not(Signal::Unreachable, None),
        }
    }

    /// Marks all connections that were begun before `moment` as not reusable.
    pub(super) fn distrust(&self, moment: Instant) {
        let connector = self.pool.manager();
        connector.0.trusted_from.fetch_max(connector.micros(moment), Ordering::Relaxed);
    }

    /// Gives up every connection, because the role has reached its limit: idle ones at the next
    /// [`close_idle`](Self::close_idle), and those in use when they are given back.
    pub(super) fn take_turns(&self) {
        let now = Instant::now();
        self.distrust(now);
        self.pool.manager().note_full(now);
    }

    /// Opens a connection outside of the pool, for one probe.
    pub(super) async fn connect_apart(&self) -> Result<PgConnection, sqlx::Error> {
        self.pool.manager().0.options.connect().await
    }

    /// Closes connections that have been idle for too long, or will not be reused.
    pub(super) fn close_idle(&self) {
        let connector = self.pool.manager();
        drop(self.pool.retain(|pooled, metrics| metrics.last_used() < LONGEST_IDLE && connector.is_usable(pooled)));
        connector.spares().retain(|spare| spare.at.elapsed() < LONGEST_IDLE && connector.is_usable(spare));
    }

    /// The number of connections: (idle, in use).
    pub(super) fn counts(&self) -> (usize, usize) {
        let status = self.pool.status();
        (status.available, status.size.saturating_sub(status.available))
    }

    /// Closes idle connections now, and the others when they are given back.
    pub(super) fn close(&self) {
        self.pool.close();
        self.pool.manager().0.places.close();
        self.turns.close();
        self.pool.manager().spares().clear();
    }
}

impl Lease {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        match &mut self.object {
            Some(object) => &mut object.connection,
            None => unreachable!("a lease holds its connection until it is given back, which consumes it"),
        }
    }

    /// Returns an idle connection to the pool.
    pub(super) fn give_back(mut self) {
        drop(self.object.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_to_connect_is_a_full_pool_only_when_postgres_is_known_to_be_full() {
        // The kernel accepts the connections, and nobody answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let options = PgConnectOptions::new_without_pgpass().host("127.0.0.1").port(port).username("app");
        let pool = ConnectionPool::new(options, 2).expect("a pool");
        let bound = Some(Duration::from_millis(20));
        assert_eq!(pool.acquire(bound).await.expect_err("no answer").signal, Signal::ConnectTimeout);
        pool.take_turns();
        assert_eq!(pool.acquire(bound).await.expect_err("no answer").signal, Signal::TooManyConnections);
    }
}
