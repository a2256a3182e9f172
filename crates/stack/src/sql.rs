//! A connection to Postgres as its superuser or as the replicas' user, for faults: one statement after the other, each
//! within a bounded time.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use tokio::runtime::{Builder, Runtime};

use crate::StackError;

/// For a connection, and for one statement.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What fails a statement.
#[derive(Debug)]
pub(crate) struct SqlError {
    statement: String,
    /// The server's five letters; `None` when it did not answer.
    pub(crate) state: Option<String>,
    detail: String,
}

impl From<SqlError> for StackError {
    fn from(error: SqlError) -> Self {
        Self::Command { command: error.statement, detail: error.detail }
    }
}

/// Blocks; not to be used inside of an asynchronous task.
pub(crate) struct Sql {
    runtime: Runtime,
    connection: PgConnection,
}

impl Sql {
    pub(crate) fn connect(url: &str) -> Result<Self, SqlError> {
        let failed = |state: Option<String>, detail: String| SqlError {
            statement: "connect to Postgres".to_owned(),
            state,
            detail,
        };
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(None, error.to_string()))?;
        // Its text has the password in it.
        let options: PgConnectOptions =
            url.parse().map_err(|_| failed(None, "the address of Postgres cannot be read".to_owned()))?;
        let options = options.application_name("lab").statement_cache_capacity(0);
        let connected = runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, options.connect()).await });
        match connected {
            Err(_) => Err(failed(None, format!("no answer within {} s", ANSWERS_WITHIN.as_secs()))),
            Ok(Err(error)) => Err(failed(state_of(&error), error.to_string())),
            Ok(Ok(connection)) => Ok(Self { runtime, connection }),
        }
    }

    /// One or several statements; several are one transaction.
    pub(crate) fn run(&mut self, statement: &str) -> Result<(), SqlError> {
        self.text(statement).map(drop)
    }

    /// Waits for it as long as the server does.
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
    pub(crate) fn text(&mut self, statement: &str) -> Result<String, SqlError> {
        let query = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()));
        let ran = self
            .runtime
            .block_on(async { tokio::time::timeout(ANSWERS_WITHIN, query.fetch_optional(&mut self.connection)).await });
        let failed = |state, detail| SqlError { statement: statement.to_owned(), state, detail };
        match ran {
            Err(_) => Err(failed(None, format!("no answer within {} s", ANSWERS_WITHIN.as_secs()))),
            Ok(Err(error)) => Err(failed(state_of(&error), error.to_string())),
            Ok(Ok(None)) => Ok(String::new()),
            Ok(Ok(Some(row))) => Ok(row.try_get(0).unwrap_or_default()),
        }
    }
}

fn state_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code()).map(|code| code.into_owned())
}
