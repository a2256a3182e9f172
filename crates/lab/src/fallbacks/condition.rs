//! Brings the conditions of a row about, and undoes them.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use sqlx::{ConnectOptions, PgConnection, postgres::PgConnectOptions};
use stack::{FaultKind, Operation, Stack, StackError, Target};
use tokio::runtime::Runtime;

use super::row::{Condition, Row};

/// For one statement or command of our own.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Longer than a row's answers take. Nothing ends it before its time: `CLIENT UNPAUSE` would be paused, too.
const CLIENT_PAUSE: Duration = Duration::from_secs(5);

/// Conditions that hold.
pub(super) struct Broken {
    locked: Option<Session>,
    starved: bool,
    client_paused: Option<Instant>,
}

/// A connection to Postgres as its administrator.
struct Session {
    runtime: Runtime,
    connection: PgConnection,
}

impl Broken {
    pub(super) fn bring_about(row: &Row, stack: &Stack, operation: &Operation<'_>) -> Result<Self, StackError> {
        let mut broken = Self { locked: None, starved: false, client_paused: None };
        let mut conditions = [(Target::Redis, row.redis), (Target::Postgres, row.postgres)];
        if !row.redis_first {
            conditions.reverse();
        }
        for (target, condition) in conditions {
            broken.apply(target, condition, stack, operation)?;
        }
        Ok(broken)
    }

    fn apply(
        &mut self,
        target: Target,
        condition: Condition,
        stack: &Stack,
        operation: &Operation<'_>,
    ) -> Result<(), StackError> {
        let fault = match condition {
            Condition::Up => return Ok(()),
            Condition::Killed => FaultKind::Kill,
            Condition::Stopped => FaultKind::Stop,
            Condition::Paused => FaultKind::Pause,
            Condition::Cut => FaultKind::Cut,
            Condition::Locked => {
                let mut session = Session::open(stack)?;
                session.run("BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE")?;
                self.locked = Some(session);
                return Ok(());
            }
            Condition::Starved => {
                let mut session = Session::open(stack)?;
                session.run(&for_application(stack, "ALTER ROLE \"{user}\" CONNECTION LIMIT 2")?)?;
                session.run(&for_application(stack, TERMINATE)?)?;
                self.starved = true;
                return forget_broken_connections(stack, operation);
            }
            Condition::ClientPaused => {
                redis(stack, &format!("CLIENT PAUSE {} ALL", CLIENT_PAUSE.as_millis()))?;
                self.client_paused = Some(Instant::now());
                return Ok(());
            }
        };
        stack.inject(fault, target, operation).map(drop)
    }

    /// Undoes everything. Returns when the dependencies were back.
    pub(super) fn undo(self, stack: &Stack, operation: &Operation<'_>) -> Result<Instant, StackError> {
        if let Some(mut session) = self.locked {
            session.run("ROLLBACK")?;
        }
        if self.starved {
            Session::open(stack)?.run(&for_application(stack, "ALTER ROLE \"{user}\" CONNECTION LIMIT -1")?)?;
        }
        if let Some(since) = self.client_paused {
            operation.interrupt.sleep((since + CLIENT_PAUSE).saturating_duration_since(Instant::now()));
        }
        stack.heal(None, operation)?;
        Ok(Instant::now())
    }
}

/// The connections that are there count against the new limit, but only new ones are refused. Waits for their end.
const TERMINATE: &str = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = '{user}'";

/// Waits until no replica comes upon one of the connections that were ended: the row is about too few, not about broken
/// ones.
fn forget_broken_connections(stack: &Stack, operation: &Operation<'_>) -> Result<(), StackError> {
    let mut unknown = 1_u64 << 41;
    for replica in stack.endpoints()?.replicas {
        let give_up = Instant::now() + ANSWERS_WITHIN;
        let mut is_away = || {
            unknown += 1;
            let answer = stack::get(&format!("{}/data/{unknown}", replica.url), ANSWERS_WITHIN);
            answer.is_ok_and(|answer| answer.body.contains("database_unavailable"))
        };
        while is_away() {
            operation.interrupt.check()?;
            if Instant::now() > give_up {
                return Err(StackError::Conflict(format!("{} says that Postgres is away, and it is not", replica.url)));
            }
        }
    }
    Ok(())
}

/// A statement about the application's own user.
fn for_application(stack: &Stack, sql: &str) -> Result<String, StackError> {
    let url = published(stack.endpoints()?.postgres_url)?;
    let user = url.split("://").nth(1).and_then(|rest| rest.split([':', '@']).next()).unwrap_or_default();
    Ok(sql.replace("{user}", user))
}

impl Session {
    fn open(stack: &Stack) -> Result<Self, StackError> {
        let url = published(stack.endpoints()?.postgres_admin_url)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed("start a runtime", error))?;
        let options: PgConnectOptions = url.parse().map_err(|error| failed("read the address of Postgres", error))?;
        let connection = runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, options.connect()).await });
        let connection = connection
            .map_err(io::Error::from)
            .map_err(|error| failed("reach Postgres", error))?
            .map_err(|error| failed("reach Postgres", error))?;
        Ok(Self { runtime, connection })
    }

    fn run(&mut self, sql: &str) -> Result<(), StackError> {
        let statement = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut self.connection);
        let ran = self.runtime.block_on(async { tokio::time::timeout(ANSWERS_WITHIN, statement).await });
        ran.map_err(io::Error::from).map_err(|error| failed(sql, error))?.map(drop).map_err(|error| failed(sql, error))
    }
}

/// One command to Redis, as its administrator.
fn redis(stack: &Stack, command: &str) -> Result<(), StackError> {
    let url = published(stack.endpoints()?.redis_admin_url)?;
    let send = || -> io::Result<String> {
        let rest = url.strip_prefix("redis://").ok_or(io::ErrorKind::InvalidInput)?;
        let (credentials, address) = rest.split_once('@').unwrap_or(("", rest));
        let mut stream = TcpStream::connect(address.split('/').next().unwrap_or_default())?;
        stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
        if let Some((user, password)) = credentials.split_once(':') {
            write!(stream, "AUTH {user} {password}\r\n")?;
            expect_ok(&mut stream)?;
        }
        write!(stream, "{command}\r\n")?;
        expect_ok(&mut stream)
    };
    send().map(drop).map_err(|error| failed(command, error))
}

fn expect_ok(stream: &mut TcpStream) -> io::Result<String> {
    let mut reply = [0; 256];
    let length = stream.read(&mut reply)?;
    let reply = String::from_utf8_lossy(&reply[..length]).into_owned();
    if reply.starts_with("+OK") { Ok(reply) } else { Err(io::Error::other(reply)) }
}

fn published(url: Option<String>) -> Result<String, StackError> {
    url.ok_or_else(|| StackError::Usage("this driver does not publish the dependencies to this machine".to_owned()))
}

fn failed(what: &str, error: impl std::error::Error) -> StackError {
    StackError::Io { what: what.to_owned(), source: io::Error::other(error.to_string()) }
}
