//! Postgres: where it is, how many connections, how long to wait.

use std::{str::FromStr, time::Duration};

use sqlx::postgres::PgConnectOptions;

use super::{limits::LimitsConfig, reader::Reader, value::Secret};

/// Three replicas of this size use 30 of Postgres' default 100 connections.
const MAX_CONNECTIONS: u32 = 10;

/// Longer than any write of this service needs, and short enough for the client to be told in time.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// How to reach Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: Secret,
    /// Connections that requests and the prober share.
    pub max_connections: u32,
    /// For a connection from the pool, connecting included; `None`: time-outs are off.
    pub acquire_timeout: Option<Duration>,
    /// For a row that another transaction holds, enforced in Postgres; `None`: time-outs are off.
    pub lock_timeout: Option<Duration>,
    /// For one statement, enforced in Postgres and, a little later, by the client; `None`: time-outs are off.
    pub statement_timeout: Option<Duration>,
}

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader, limits: &LimitsConfig) -> Self {
        let url = reader.url("DATABASE_URL", "Postgres", "postgres://user:password@host:5432/database", check_url);
        let max_connections =
            reader.number("DB_MAX_CONNECTIONS", MAX_CONNECTIONS, (1, 1_000), "connections to Postgres");
        let acquire =
            reader.duration("DB_ACQUIRE_TIMEOUT", Duration::from_millis(100), "for a connection from the pool");
        let statement =
            reader.duration("DB_STATEMENT_TIMEOUT", Duration::from_millis(150), "for one statement, in Postgres too");
        // Shorter than the statement's, whatever that is: which of the two ends it tells a busy row from a slow Postgres.
        let lock_default = LOCK_TIMEOUT.min(statement * 2 / 3);
        let lock = reader.duration("DB_LOCK_TIMEOUT", lock_default, "for a row that another request holds");
        let config = Self {
            url: Secret::new(url),
            max_connections,
            acquire_timeout: limits.timeouts().then_some(acquire),
            lock_timeout: limits.timeouts().then_some(lock),
            statement_timeout: limits.timeouts().then_some(statement),
        };
        reader.fits(("DB_LOCK_TIMEOUT", config.lock_timeout), ("DB_STATEMENT_TIMEOUT", config.statement_timeout));
        let sum = limits.timeouts().then_some(acquire + statement);
        reader.fits(("DB_ACQUIRE_TIMEOUT + DB_STATEMENT_TIMEOUT", sum), ("REQUEST_TIMEOUT", limits.request_timeout));
        config
    }
}

fn check_url(url: &str) -> Result<(), String> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err("is not a Postgres URL".to_owned());
    }
    // The parser's own message could quote the password.
    PgConnectOptions::from_str(url).map(drop).map_err(|_| "cannot be read as a Postgres URL".to_owned())
}
