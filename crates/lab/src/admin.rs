//! Access to the servers behind the API as administrator: statements to Postgres, commands to Redis.

use std::{io, time::Duration};

use stack::{Login, Sql, Stack, StackError};

/// Time limit of one command, on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A connection to Postgres as its superuser.
#[derive(Debug)]
pub(crate) struct Postgres(Sql);

impl Postgres {
    pub(crate) fn connect(stack: &Stack) -> Result<Self, StackError> {
        Self::open(&stack.url(Login::PostgresAdmin)?)
    }

    pub(crate) fn open(url: &str) -> Result<Self, StackError> {
        Ok(Self(Sql::connect(url)?))
    }

    /// Runs one statement and ignores its rows.
    pub(crate) fn run(&mut self, sql: &str) -> Result<(), StackError> {
        Ok(self.0.run(sql)?)
    }

    /// The id, version and value of every record.
    pub(crate) fn records(&mut self) -> Result<Vec<(i64, i64, String)>, StackError> {
        let sql = "SELECT coalesce(json_agg(json_build_array(id, version, value::text) ORDER BY id), '[]')::text FROM records";
        serde_json::from_str(&self.0.text(sql)?).map_err(|error| failed(sql, error))
    }
}

/// A connection to Redis as its administrator.
pub(crate) struct Redis(redis::Connection);

impl Redis {
    pub(crate) fn connect(stack: &Stack) -> Result<Self, StackError> {
        Self::open(&stack.url(Login::RedisAdmin)?, ANSWERS_WITHIN).map_err(|error| failed("reach Redis", error))
    }

    /// A connection with this time-out for replies.
    pub(crate) fn open(url: &str, within: Duration) -> io::Result<Self> {
        let open = || {
            let connection = redis::Client::open(url)?.get_connection_with_timeout(within)?;
            connection.set_read_timeout(Some(within))?;
            connection.set_write_timeout(Some(within))?;
            Ok(Self(connection))
        };
        open().map_err(|error: redis::RedisError| io::Error::other(error))
    }

    /// Sends one command; an error reply is returned as an error.
    pub(crate) fn command(&mut self, words: &[&str]) -> io::Result<()> {
        let Some((name, arguments)) = words.split_first() else { return Ok(()) };
        redis::cmd(name).arg(arguments).exec(&mut self.0).map_err(io::Error::other)
    }

    /// The same, with the command in the error message.
    pub(crate) fn run(&mut self, words: &[&str]) -> Result<(), StackError> {
        self.command(words).map_err(|error| failed(&words.join(" "), error))
    }
}

fn failed(what: &str, error: impl std::error::Error) -> StackError {
    StackError::Io { what: what.to_owned(), source: io::Error::other(error.to_string()) }
}
