//! The servers behind the API as their administrator sees them: statements to Postgres, commands to Redis.

use std::{
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use sqlx::{ConnectOptions, PgConnection, Row, postgres::PgConnectOptions};
use stack::{Endpoints, StackError};
use tokio::{runtime::Runtime, time::timeout};

/// For one statement or command, on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A connection to Postgres as its superuser.
#[derive(Debug)]
pub(crate) struct Postgres {
    runtime: Runtime,
    connection: PgConnection,
}

impl Postgres {
    pub(crate) fn connect(endpoints: &Endpoints) -> Result<Self, StackError> {
        let url = published(endpoints.postgres_admin_url.as_ref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("start a runtime", error))?;
        let options: PgConnectOptions = url.parse().map_err(|error| failed("read the address of Postgres", error))?;
        let connection = runtime.block_on(async { timeout(ANSWERS_WITHIN, options.connect()).await });
        let connection = connection
            .map_err(|error| failed("reach Postgres", error))?
            .map_err(|error| failed("reach Postgres", error))?;
        Ok(Self { runtime, connection })
    }

    /// One statement, of which the rows do not matter.
    pub(crate) fn run(&mut self, sql: &str) -> Result<(), StackError> {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        let ran = self.runtime.block_on(async { timeout(ANSWERS_WITHIN, statement).await });
        ran.map_err(|error| failed(sql, error))?.map(drop).map_err(|error| failed(sql, error))
    }

    /// The id, version and value of every record.
    pub(crate) fn records(&mut self) -> Result<Vec<(i64, i64, String)>, StackError> {
        let sql = "SELECT id, version, value::text FROM records ORDER BY id";
        let rows = sqlx::query(sql).fetch_all(&mut self.connection);
        let rows = self.runtime.block_on(async { timeout(ANSWERS_WITHIN, rows).await });
        let rows = rows.map_err(|error| failed(sql, error))?.map_err(|error| failed(sql, error))?;
        let read = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?)));
        read.collect::<sqlx::Result<_>>().map_err(|error| failed(sql, error))
    }
}

/// A connection to Redis as its administrator.
#[derive(Debug)]
pub(crate) struct Redis {
    stream: BufReader<TcpStream>,
}

impl Redis {
    pub(crate) fn connect(endpoints: &Endpoints) -> Result<Self, StackError> {
        let url = published(endpoints.redis_admin_url.as_ref())?;
        Self::open(url, ANSWERS_WITHIN).map_err(|error| failed("reach Redis", error))
    }

    /// A connection whose replies come within this time.
    pub(crate) fn open(url: &str, within: Duration) -> io::Result<Self> {
        let rest = url.strip_prefix("redis://").ok_or(io::ErrorKind::InvalidInput)?;
        let (credentials, address) = rest.split_once('@').unwrap_or(("", rest));
        let address = address.split('/').next().unwrap_or_default();
        let address = address.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let stream = TcpStream::connect_timeout(&address, within)?;
        stream.set_read_timeout(Some(within))?;
        stream.set_write_timeout(Some(within))?;
        let mut redis = Self { stream: BufReader::new(stream) };
        match credentials.split_once(':') {
            Some(("", password)) => redis.command(&["AUTH", password])?,
            Some((user, password)) => redis.command(&["AUTH", user, password])?,
            None => {}
        }
        Ok(redis)
    }

    /// One command whose reply is a line; a reply that is an error is one here.
    pub(crate) fn command(&mut self, words: &[&str]) -> io::Result<()> {
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        self.stream.get_mut().write_all(text.as_bytes())?;
        let mut reply = String::new();
        self.stream.read_line(&mut reply)?;
        match reply.as_bytes().first() {
            Some(b'+' | b':') => Ok(()),
            Some(_) => Err(io::Error::other(reply.trim_end().to_owned())),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The same, with the command in the error.
    pub(crate) fn run(&mut self, words: &[&str]) -> Result<(), StackError> {
        self.command(words).map_err(|error| failed(&words.join(" "), error))
    }
}

fn published(url: Option<&String>) -> Result<&str, StackError> {
    let missing = || StackError::Usage("this driver does not publish the dependencies to this machine".to_owned());
    url.map(String::as_str).ok_or_else(missing)
}

fn failed(what: &str, error: impl std::error::Error) -> StackError {
    StackError::Io { what: what.to_owned(), source: io::Error::other(error.to_string()) }
}
