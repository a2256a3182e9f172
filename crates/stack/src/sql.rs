//! A connection to Postgres as its superuser or as the replicas' user, for faults: one statement at a time, each with a
//! time limit.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use tokio::runtime::{Builder, Runtime};

use crate::StackError;

/// For a connection, and for one statement.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The error of a statement.
#[derive(Debug)]
pub struct SqlError {
    statement: String,
    /// The SQLSTATE; `None` if the server did not answer.
    pub(crate) state: Option<String>,
    detail: String,
}

impl From<SqlError> for StackError {
    fn from(error: SqlError) -> Self {
        Self::Command { command: error.statement, detail: error.detail }
    }
}

/// Blocks; not to be used inside of an asynchronous task.
#[derive(Debug)]
pub struct Sql {
    runtime: Runtime,
    connection: PgConnection,
}

impl Sql {
    /// As the user of this address, which may have a password in it.
    pub fn connect(url: &str) -> Result<Self, SqlError> {
        let failed = |state: Option<String>, detail: String| SqlError {
            statement: "connect to Postgres".to_owned(),
            state,
            detail,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(None, error.to_string()))?;
        // The error text contains the password.
        let options: PgConnectOptions =
            url.parse().map_err(|_| failed(None, "the URL of Postgres is invalid".to_owned()))?;
        let options = options.application_name("lab").statement_cache_capacity(0);
        let connected = runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, options.connect()).await });
        match connected {
            Err(_) => Err(failed(None, format!("no answer within {} s", ANSWERS_WITHIN.as_secs()))),
            Ok(Err(error)) => Err(failed(state_of(&error), error.to_string())),
            Ok(Ok(connection)) => Ok(Self { runtime, connection }),
        }
    }

    /// One or several statements; several are one transaction. Rows do not matter.
    pub fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut self.connection);
        let ran = self.runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, query).await });
        answered(statement, ran).map(drop)
    }

    /// Runs a statement without a time limit.
    pub(crate) fn run_unbounded(&mut self, statement: &str) -> Result<(), SqlError> {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        let ran = self.runtime.block_on(query.execute(&mut self.connection));
        ran.map(drop).map_err(|error| SqlError {
            statement: statement.to_owned(),
            state: state_of(&error),
            detail: error.to_string(),
        })
    }

    /// The first value of the last statement's first row; it has to be a text. Empty when there is no row.
    pub fn text(&mut self, statement: &str) -> Result<String, SqlError> {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).fetch_optional(&mut self.connection);
        let ran = self.runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, query).await });
        let row = answered(statement, ran)?;
        Ok(row.map(|row| row.try_get(0).unwrap_or_default()).unwrap_or_default())
    }
}

fn answered<T>(statement: &str, ran: Result<sqlx::Result<T>, tokio::time::error::Elapsed>) -> Result<T, SqlError> {
    let failed = |state, detail| SqlError { statement: statement.to_owned(), state, detail };
    match ran {
        Err(_) => Err(failed(None, format!("no answer within {} s", ANSWERS_WITHIN.as_secs()))),
        Ok(ran) => ran.map_err(|error| failed(state_of(&error), error.to_string())),
    }
}

fn state_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}
