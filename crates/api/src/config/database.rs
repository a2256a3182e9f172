//! Postgres: its address, the number of connections, the time-outs.

use std::{str::FromStr, time::Duration};

use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;

use super::{
    limits::LimitsConfig,
    reader::Reader,
    server_url::{self, UrlForm},
};

/// Three replicas with this pool size use 30 of Postgres' default 100 connections.
const MAX_CONNECTIONS: u32 = 10;

/// Longer than any write of this service needs, and short enough to leave time for an answer.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// The URL parameters that sqlx supports.
pub(super) const URL: UrlForm = UrlForm {
    variable: "DATABASE_URL",
    variable_file: "DATABASE_URL_FILE",
    password_file: "DATABASE_PASSWORD_FILE",
    server: "Postgres",
    schemes: &["postgres", "postgresql"],
    example: "postgres://user:password@host:5432/database",
    shown: &[
        "sslmode",
        "ssl-mode",
        "statement-cache-capacity",
        "host",
        "hostaddr",
        "port",
        "dbname",
        "user",
        "application_name",
    ],
    hidden: &["password", "options", "options[…]"],
    is_understood: |url| PgConnectOptions::from_str(url).is_ok(),
};

/// How to connect to Postgres.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`, including the password.
    pub url: SecretString,
    /// Size of the pool, which requests and the prober share.
    pub max_connections: u32,
    /// Time limit for acquiring a connection, including connecting; `None` when time-outs are off.
    pub acquire_timeout: Option<Duration>,
    /// Time limit for waiting for a row lock, enforced by Postgres; `None` when time-outs are off.
    pub lock_timeout: Option<Duration>,
    /// Time limit for one statement, enforced by Postgres and, a little later, by the client; `None` when time-outs are
    /// off.
    pub statement_timeout: Option<Duration>,
}

impl DatabaseConfig {
    pub(super) fn read(reader: &mut Reader, limits: &LimitsConfig) -> Self {
        let url = server_url::read(reader, &URL);
        let max_connections =
            reader.number("DB_MAX_CONNECTIONS", MAX_CONNECTIONS, (1, 1_000), "connections to Postgres");
        let acquire =
            reader.duration("DB_ACQUIRE_TIMEOUT", Duration::from_millis(100), "for a connection from the pool");
        let statement =
            reader.duration("DB_STATEMENT_TIMEOUT", Duration::from_millis(150), "for one statement, in Postgres too");
        // Always shorter than the statement time-out, so that a locked row can be distinguished from a slow Postgres.
        let lock_default = LOCK_TIMEOUT.min(statement * 2 / 3);
        let lock = reader.duration("DB_LOCK_TIMEOUT", lock_default, "for a row that another request holds");
        let config = Self {
            url,
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
