//! The one connection that all requests share, and the task that owns it.
//!
//! # In the order of time
//! ## Connect
//! The task takes a connection from the pool (deadpool owns its making and its bounds) and publishes it. Requests never
//! connect and never wait for it: they clone the published connection, which carries all of them at once. Checking a
//! connection out of the pool for each request would ping it each time, and cost two thirds of the requests per second.
//! ## Ask
//! Twice a second it asks whether Redis answers, and then whether it takes a write. An answer that refuses is an answer:
//! the connection stays.
//! ## Replace
//! A connection that broke or fell silent is replaced, by at most one attempt at each turn, however many requests fail.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use deadpool_redis::{
    Manager, Pool, Runtime,
    redis::{AsyncConnectionConfig, Cmd, IntoConnectionInfo, Value, aio::MultiplexedConnection, io::tcp::TcpSettings},
};
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::judge::{Signal, signal};
use crate::{
    config::RedisConfig,
    dependencies::{
        guard::within,
        knowledge::{Observation, PROBE_TIMEOUT},
    },
};

/// One that serves and one in the making.
const POOL_SIZE: usize = 2;

/// Where the prober writes, per replica; it expires by itself.
const PROBE_KEY: &str = "write-probe:v1:";
const PROBE_KEPT_MS: u32 = 5_000;

/// Why it refuses writes, when it still deletes.
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
        let tcp = TcpSettings::default().set_nodelay(true);
        let info = config.url.expose_secret().into_connection_info()?.set_tcp_settings(tcp);
        // The attempts are bounded by their caller; a second timer per command would only cost.
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

    /// The connection, if there is one.
    pub(super) fn published(&self) -> Option<Arc<MultiplexedConnection>> {
        self.published.load_full()
    }

    /// Takes a broken connection away, unless it has been replaced already.
    pub(super) fn unpublish(&self, broken: &Arc<MultiplexedConnection>) {
        self.published.compare_and_swap(broken, None);
    }

    /// Asks the held connection, or makes a new one and publishes it. Says what came of it.
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
        // The silent connection stays published until there is a better one: requests find out by their own time-outs.
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
            // A disk that fails makes Redis refuse even PING; it answers reads all the same.
            Signal::Answered | Signal::RefusesWrites | Signal::Full => {}
            Signal::Silent => return Observation::down(latency, "timeout"),
            Signal::NotReady => return Observation::down(latency, "not_ready"),
            Signal::LoginRefused => return Observation::down(latency, "login_refused"),
            Signal::BreakerOpen
            | Signal::NoTime
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
            | Signal::NoConnection
            | Signal::Broken
            | Signal::NotReady
            | Signal::LoginRefused
            | Signal::WrongType
            | Signal::UnknownScript
            | Signal::OwnDefect => Observation::read_only(latency, "error"),
        }
    }

    /// Ends: no connection any more.
    pub(super) fn close(&self) {
        self.published.store(None);
        self.pool.close();
    }
}

async fn send(connection: &mut Held, command: &Cmd) -> Signal {
    match within(Some(PROBE_TIMEOUT), command.query_async::<Value>(connection)).await {
        Some(Ok(_)) => Signal::Answered,
        Some(Err(error)) => signal(&error),
        None => Signal::Silent,
    }
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

/// Ends a connection instead of giving it back: the pool would hand it out again.
fn release(connection: Option<Held>) {
    drop(connection.map(Held::take));
}
