//! The one connection that all requests share, and the task that owns it.
//!
//! # In the order of time
//! ## Connect
//! The task takes a connection from the pool (deadpool makes it and enforces the bounds) and publishes it. Requests
//! never connect and never wait for a connection: they clone the published one, which is multiplexed. Taking a
//! connection from the pool for each request would ping it each time, and cost two thirds of the requests per second.
//! ## Probe
//! Twice a second the task checks whether Redis answers, and whether it takes a write. A refusal is an answer, so the
//! connection is kept.
//! ## Replace
//! A connection that broke or does not answer is replaced. There is at most one attempt per probe, however many
//! requests fail.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{
        AsyncConnectionConfig, Cmd, ConnectionInfo, IntoConnectionInfo, RedisResult, Value, aio::MultiplexedConnection,
        io::tcp::TcpSettings,
    },
};
use resilience::{
    deadline::Deadline,
    timeout::{Expired, within},
};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::judge::{Signal, signal};
use crate::{
    config::RedisConfig,
    dependencies::knowledge::{Observation, PROBE_TIMEOUT},
};

/// The published connection and its replacement.
const POOL_SIZE: usize = 2;

/// The prefix of the key that the prober writes, one per replica. The key expires by itself.
const PROBE_KEY: &str = "write-probe:v1:";
const PROBE_KEPT_MS: u32 = 5_000;

/// The reason when Redis refuses to store but still deletes.
pub(super) const FULL: &str = "full";

type Held = deadpool_redis::Connection;

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct SharedConnection {
    pool: Pool,
    published: ArcSwapOption<MultiplexedConnection>,
    probe_key: String,
}

impl SharedConnection {
    /// Connects to nothing yet.
    pub(super) fn new(config: &RedisConfig, instance: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let info = connection_info(config)?;
        // The caller bounds each attempt, so a second timer per command is not needed.
        let connection =
            AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(Some(PROBE_TIMEOUT));
        let pool = Pool::builder(Manager::new_with_config(info, connection)?)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PROBE_TIMEOUT))
            .create_timeout(Some(PROBE_TIMEOUT))
            .recycle_timeout(Some(PROBE_TIMEOUT))
            .build()?;
        Ok(Self { pool, published: ArcSwapOption::empty(), probe_key: format!("{PROBE_KEY}{instance}") })
    }

    /// The published connection, if there is one.
    pub(super) fn published(&self) -> Option<Arc<MultiplexedConnection>> {
        self.published.load_full()
    }

    /// Removes a broken connection, unless it has already been replaced.
    pub(super) fn unpublish(&self, broken: &Arc<MultiplexedConnection>) {
        self.published.compare_and_swap(broken, None);
    }

    /// Probes the held connection, or makes a new one and publishes it. Returns the observation.
    pub(super) async fn maintain(&self, held: &mut Option<Held>) -> Observation {
        let start = Instant::now();
        if self.published.load().is_none() {
            release(held.take());
        }
        if let Some(connection) = held {
            let observed = self.ask(connection, start).await;
            if observed.up || observed.reason == "not_ready" {
                return observed;
            }
        }
        // The connection that does not answer stays published until there is a new one. Requests have their own
        // time-outs.
        match tokio::time::timeout(PROBE_TIMEOUT, self.pool.get()).await {
            Ok(Ok(mut connection)) => {
                let observed = self.ask(&mut connection, start).await;
                if observed.up {
                    self.published.store(Some(Arc::new((*connection).clone())));
                    release(held.replace(connection));
                } else {
                    release(Some(connection));
                }
                observed
            }
            Ok(Err(error)) => Observation::down(start.elapsed(), why_not_made(&error)),
            Err(_) => Observation::down(start.elapsed(), "timeout"),
        }
    }

    async fn ask(&self, connection: &mut Held, start: Instant) -> Observation {
        let mut ping = Cmd::new();
        ping.arg("PING");
        let answered = send(connection, &ping).await;
        let latency = start.elapsed();
        match answered {
            // With a failing disk Redis refuses even PING, but it still answers reads.
            Signal::Answered | Signal::RefusesWrites | Signal::Full => {}
            Signal::Silent => return Observation::down(latency, "timeout"),
            Signal::NotReady => return Observation::down(latency, "not_ready"),
            Signal::LoginRefused => return Observation::down(latency, "login_refused"),
            Signal::BreakerOpen
            | Signal::NoTime
            | Signal::Stalled
            | Signal::NoConnection
            | Signal::Broken
            | Signal::WrongType
            | Signal::UnknownScript
            | Signal::OwnDefect => return Observation::down(latency, "unreachable"),
        }
        let mut write = Cmd::new();
        write.arg("SET").arg(&self.probe_key).arg(1).arg("PX").arg(PROBE_KEPT_MS);
        match send(connection, &write).await {
            Signal::Answered => Observation::up(latency),
            Signal::Full => Observation::read_only(latency, FULL),
            Signal::RefusesWrites => Observation::read_only(latency, "read_only"),
            Signal::Silent => Observation::read_only(latency, "writes_paused"),
            Signal::BreakerOpen
            | Signal::NoTime
            | Signal::Stalled
            | Signal::NoConnection
            | Signal::Broken
            | Signal::NotReady
            | Signal::LoginRefused
            | Signal::WrongType
            | Signal::UnknownScript
            | Signal::OwnDefect => Observation::read_only(latency, "error"),
        }
    }

    /// Closes the connection and the pool.
    pub(super) fn close(&self) {
        self.published.store(None);
        self.pool.close();
    }
}

async fn send(connection: &mut Held, command: &Cmd) -> Signal {
    match within(Instant::now(), Some(PROBE_TIMEOUT), Deadline::NEVER, command.query_async::<Value>(connection)).await {
        Ok(Ok(_)) => Signal::Answered,
        Ok(Err(error)) => signal(&error),
        Err(Expired::Silent) => Signal::Silent,
        Err(Expired::Stalled) => Signal::Stalled,
    }
}

/// Where Redis is, and the settings of its sockets.
pub(super) fn connection_info(config: &RedisConfig) -> RedisResult<ConnectionInfo> {
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(config.url.expose_secret().into_connection_info()?.set_tcp_settings(tcp))
}

/// Why the pool gave no connection, as one word of a closed list.
fn why_not_made(error: &deadpool_redis::PoolError) -> &'static str {
    match error {
        deadpool_redis::PoolError::Backend(error) => match signal(error) {
            Signal::LoginRefused => "login_refused",
            Signal::NotReady => "not_ready",
            Signal::Answered
            | Signal::BreakerOpen
            | Signal::NoTime
            | Signal::Stalled
            | Signal::NoConnection
            | Signal::Broken
            | Signal::Silent
            | Signal::RefusesWrites
            | Signal::Full
            | Signal::WrongType
            | Signal::UnknownScript
            | Signal::OwnDefect => "unreachable",
        },
        deadpool_redis::PoolError::Timeout(_) => "timeout",
        deadpool_redis::PoolError::Closed
        | deadpool_redis::PoolError::NoRuntimeSpecified
        | deadpool_redis::PoolError::PostCreateHook(_) => "closed",
    }
}

/// Closes a connection instead of giving it back, so that the pool does not reuse it.
fn release(connection: Option<Held>) {
    drop(connection.map(Held::take));
}
