//! Probes whether Postgres answers, takes writes, and has connections left. The prober holds no connection of its own:
//! it takes one from the pool for each probe, so that it uses no extra connection where connections are few.
//!
//! # Connections that are scarce
//! An open connection saves the next request the time to connect, but when the role has reached its limit it is one that
//! another replica waits for. So each probe asks for that limit, too. While it is reached, this replica reuses no
//! connection that is older than the last probe: idle ones are closed, and those in use when their statement has ended.
//! Each replica gets its turn that way, also beside idle replicas and beside busier ones. Connections are not given up
//! when other roles have filled Postgres, because those would take them.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    Inner, Postgres,
    judge::{Access, Signal, Stage, signal},
    pool::NotAcquired,
};
use crate::dependencies::{
    guard::within,
    knowledge::{Change, Observation, PROBE_TIMEOUT},
};

/// Opened when Postgres becomes available, so that the first requests do not have to connect.
const WARM_CONNECTIONS: usize = 2;

/// Whether Postgres refuses writes (it is a standby, or `default_transaction_read_only` is set), and whether the
/// connections of this role have reached its limit.
const QUESTION: &str = "
    SELECT current_setting('transaction_read_only') = 'on', coalesce((
        SELECT count(*) >= nullif(rolconnlimit, -1)
        FROM pg_stat_activity JOIN pg_roles ON pg_roles.oid = usesysid
        WHERE rolname = session_user
        GROUP BY rolconnlimit
    ), false)";

/// The bound of the first attempt, on a connection from the pool. The rest of the probe's time is for a fresh
/// connection.
const FIRST_ASK: Duration = Duration::from_millis(100);

/// The answer to a probe.
#[derive(Clone, Copy)]
struct Told {
    read_only: bool,
    at_limit: bool,
}

/// The result of a probe.
enum Seen {
    Up { read_only: bool },
    Down(&'static str),
}

impl Postgres {
    /// Probes Postgres each `interval`, and sooner when a request has failed, until `stop`.
    pub async fn probe(self, interval: Duration, stop: CancellationToken) {
        stop.run_until_cancelled(async {
            loop {
                self.0.probe_once().await;
                self.0.knowledge.next_turn(interval).await;
            }
        })
        .await;
    }
}

impl Inner {
    async fn probe_once(&self) {
        let start = Instant::now();
        let answered = self.answered.swap(false, std::sync::atomic::Ordering::Relaxed);
        let asked = match self.knowledge.is_writable() {
            true => self.ask(FIRST_ASK).await,
            // Sessions may keep the setting they began with, so only a new session shows the current one.
            false => self.ask_apart().await,
        };
        let seen = match asked {
            // This concerns one connection. The others may be broken too, so the probe is repeated on a fresh one.
            Err(Signal::EndedWhenReused | Signal::Silent) => {
                self.pool.distrust(start);
                self.ask(PROBE_TIMEOUT.saturating_sub(start.elapsed())).await
            }
            seen => seen,
        };
        let latency = start.elapsed();
        let at_limit = matches!(seen, Ok(Told { at_limit: true, .. }));
        let observation = match seen
            .map_or_else(|signal| self.reason(signal, answered), |told| Seen::Up { read_only: told.read_only })
        {
            Seen::Up { read_only: false } => Observation::up(latency),
            Seen::Up { read_only: true } => Observation::read_only(latency, "read_only"),
            Seen::Down(reason) => Observation::down(latency, reason),
        };
        let was_writable = self.knowledge.is_writable();
        let writable_again = observation.writable && !was_writable;
        let change = self.knowledge.record(observation);
        if change == Change::CameUp || writable_again {
            // Earlier connections may be broken or keep their read-only setting.
            self.pool.distrust(start);
        }
        if change == Change::CameUp {
            self.guard.invite();
            self.warm().await;
        }
        if at_limit {
            self.pool.take_turns();
        }
        self.pool.close_idle();
    }

    /// Asks on a connection from the pool.
    async fn ask(&self, bound: Duration) -> Result<Told, Signal> {
        let start = Instant::now();
        let mut lease = self.pool.acquire(Some(bound)).await.map_err(|NotAcquired { signal, .. }| signal)?;
        let stage = if lease.is_fresh { Stage::OnFresh } else { Stage::OnReused };
        let question = sqlx::query_as(QUESTION);
        let answer = within(Some(bound.saturating_sub(start.elapsed())), question.fetch_one(lease.connection())).await;
        match answer {
            Some(Ok((read_only, at_limit))) => {
                lease.give_back();
                Ok(Told { read_only, at_limit })
            }
            Some(Err(error)) => Err(signal(&error, stage, Access::Read)),
            None => Err(Signal::Silent),
        }
    }

    /// Runs the same probe on a new connection.
    async fn ask_apart(&self) -> Result<Told, Signal> {
        let asked = within(Some(PROBE_TIMEOUT), async {
            let mut connection = self.pool.connect_apart().await.map_err(|error| (error, Stage::Connecting))?;
            sqlx::query_as(QUESTION).fetch_one(&mut connection).await.map_err(|error| (error, Stage::OnFresh))
        });
        match asked.await {
            Some(Ok((read_only, at_limit))) => Ok(Told { read_only, at_limit }),
            Some(Err((error, stage))) => Err(signal(&error, stage, Access::Read)),
            None => Err(Signal::Silent),
        }
    }

    /// Opens a few connections at the same time and puts them into the pool.
    async fn warm(&self) {
        let mut opening = JoinSet::new();
        for _ in 0..WARM_CONNECTIONS {
            let pool = std::sync::Arc::clone(&self.pool);
            opening.spawn(async move { pool.acquire(Some(PROBE_TIMEOUT)).await });
        }
        // All are held until all are open, because a connection that is given back would be acquired again.
        let opened: Vec<_> = opening.join_all().await.into_iter().flatten().collect();
        opened.into_iter().for_each(super::pool::Lease::give_back);
    }

    /// The result of a probe that got no answer.
    fn reason(&self, signal: Signal, answered: bool) -> Seen {
        match signal {
            // All connections are in use, so Postgres is probably up. But hanging connections can fill the pool too.
            Signal::TooManyConnections => Seen::Up { read_only: !self.knowledge.is_writable() },
            Signal::PoolFull | Signal::ConnectTimeout if answered => {
                Seen::Up { read_only: !self.knowledge.is_writable() }
            }
            Signal::PoolFull
            | Signal::NoTime
            | Signal::ConnectTimeout
            | Signal::Silent
            | Signal::StatementTimeout
            | Signal::TableLocked => Seen::Down("timeout"),
            Signal::Unreachable | Signal::EndedWhenReused | Signal::EndedWhenFresh | Signal::EndedInWrite => {
                Seen::Down("unreachable")
            }
            Signal::StartingUp => Seen::Down("starting_up"),
            Signal::LoginRefused => Seen::Down("login_refused"),
            Signal::Answered
            | Signal::BreakerOpen
            | Signal::ConnectSlow
            | Signal::RowLocked
            | Signal::Conflict
            | Signal::StalePlan
            | Signal::ReadOnlyWhenReused
            | Signal::ReadOnly
            | Signal::DiskFull
            | Signal::OutOfResources
            | Signal::InvalidData
            | Signal::OwnDefect => Seen::Down("error"),
        }
    }
}
