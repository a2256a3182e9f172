//! The meaning of each outcome of Postgres: the one table from signal to ruling. `docs/outcomes.md` is generated from
//! it.
//!
//! # In the order of time
//! ## Name
//! [`signal`] gives an error its name, by its SQLSTATE (appendix A of the Postgres manual; codes, unlike messages, are
//! not translated) or by where the call broke.
//! ## Rule
//! [`Signal::ruling`] defines the cause, how the breaker counts it, whether the connection is kept, whether the
//! statement is retried, what the caller gets and how it is logged.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::dependencies::{CallOutcome, Fault, LogLevel, Verdict};

/// Why a call to Postgres failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be reached, or it ended the connection.
    #[error("the database cannot be reached")]
    Unavailable,
    /// The breaker is open: nothing was sent.
    #[error("the database did not answer lately and is not asked now")]
    NotAsked,
    /// No connection came free in time: nothing was done.
    #[error("no database connection came free in time")]
    Busy,
    /// A statement did not end in time, or the connection was lost while it ran: a write is in doubt.
    #[error("the database did not answer in time")]
    Timeout,
    /// It takes no writes: nothing was done.
    #[error("the database takes no writes at present")]
    ReadOnly,
    /// Its disk has no room for a write: nothing was done.
    #[error("the database has no room for a write at present")]
    Full,
    /// Another transaction holds the row: nothing was done.
    #[error("another request is changing this record")]
    Locked,
    /// The request's deadline passed before anything was sent.
    #[error("the request's deadline has passed")]
    NoTime,
    /// A defect of this service; the log has the cause.
    #[error("the service failed")]
    Internal,
}

/// What a statement does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It only reads, so it may run twice.
    Read,
    /// It writes, so it runs twice only if the first run certainly had no effect.
    Write,
}

/// The stage a call had reached when it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dependencies) enum Stage {
    /// It had no connection yet.
    Connecting,
    /// It ran on a connection that was in use before, which may be broken.
    OnReused,
    /// It ran on a connection made for this call.
    OnFresh,
}

/// The name of an outcome of Postgres or of the connection to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(in crate::dependencies) enum Signal {
    Answered,
    BreakerOpen,
    NoTime,
    PoolFull,
    TooManyConnections,
    Unreachable,
    ConnectSlow,
    ConnectTimeout,
    StartingUp,
    LoginRefused,
    EndedWhenReused,
    EndedWhenFresh,
    EndedInWrite,
    Silent,
    StatementTimeout,
    TableLocked,
    RowLocked,
    Conflict,
    StalePlan,
    ReadOnlyWhenReused,
    ReadOnly,
    DiskFull,
    OutOfResources,
    InvalidData,
    OwnDefect,
}

/// What happens to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(in crate::dependencies) enum Connection {
    /// There is none.
    None,
    /// It goes back to the pool.
    Kept,
    /// It is closed.
    Discarded,
    /// It is closed, and all connections made before it was acquired are closed at their next use.
    AllDistrusted,
}

/// Whether the statement is tried once more, within the deadline and the retry budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(in crate::dependencies) enum Again {
    No,
    /// On the same connection, after its prepared statements are cleared.
    Prepared,
    /// On the same connection; the transaction was rolled back.
    Transaction,
    /// On a connection made for it.
    FreshConnection,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dependencies) struct Ruling {
    pub(in crate::dependencies) fault: Fault,
    pub(in crate::dependencies) verdict: Verdict,
    pub(in crate::dependencies) connection: Connection,
    pub(in crate::dependencies) again: Again,
    /// What the caller gets when there is no retry or the retry failed too; `None`: the answer.
    pub(in crate::dependencies) error: Option<DatabaseError>,
    pub(in crate::dependencies) level: LogLevel,
    pub(in crate::dependencies) outcome: CallOutcome,
}

/// SQLSTATEs and classes (the first characters of a code) that have their own meaning. The longest match counts. Every
/// other code is [`Signal::OwnDefect`]: this service sent something that Postgres does not accept.
pub(in crate::dependencies) const SQLSTATES: &[(&str, Signal)] = &[
    ("08", Signal::EndedWhenReused),    // connection exception
    ("0A000", Signal::StalePlan),       // cached plan must not change result type
    ("26000", Signal::StalePlan),       // the prepared statement is gone
    ("22", Signal::InvalidData),        // data exception, 2200H among them: the ids are used up
    ("23", Signal::InvalidData),        // a constraint refused what validation let through
    ("25006", Signal::ReadOnly),        // read-only transaction: a standby, or set to it
    ("25P03", Signal::EndedWhenReused), // idle in transaction for too long
    ("28", Signal::LoginRefused),       // invalid authorization
    ("3D000", Signal::LoginRefused),    // no such database
    ("40001", Signal::Conflict),        // serialization failure
    ("40P01", Signal::Conflict),        // deadlock
    ("53", Signal::OutOfResources),     // out of memory, configuration limit
    ("53100", Signal::DiskFull),
    ("53300", Signal::TooManyConnections),
    ("55P03", Signal::RowLocked),        // lock_timeout
    ("57014", Signal::StatementTimeout), // query_canceled: statement_timeout
    ("57P", Signal::EndedWhenReused),    // shut down, crashed, database dropped, idle for too long
    ("57P03", Signal::StartingUp),       // starting up, shutting down, in recovery
    ("58", Signal::OutOfResources),      // system error outside of Postgres: I/O
    ("XX001", Signal::OutOfResources),   // data corrupted
    ("XX002", Signal::OutOfResources),   // index corrupted
];

/// Names an error.
pub(in crate::dependencies) fn signal(error: &sqlx::Error, stage: Stage, access: Access) -> Signal {
    let named = match error {
        sqlx::Error::Database(database) => {
            let named = of_sqlstate(database.code().as_deref().unwrap_or_default());
            let severity = database.try_downcast_ref::<PgDatabaseError>().map(PgDatabaseError::severity);
            match severity {
                // After a fatal error Postgres closes the connection, whatever the code.
                Some(PgSeverity::Fatal | PgSeverity::Panic) if named.ruling().connection == Connection::Kept => {
                    Signal::EndedWhenReused
                }
                _ => named,
            }
        }
        sqlx::Error::Io(error) if stage == Stage::Connecting && error.kind() == std::io::ErrorKind::TimedOut => {
            Signal::ConnectTimeout
        }
        // Broken connections, and answers that are not from a Postgres server.
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => Signal::EndedWhenReused,
        // Unexpected rows, and values that the protocol cannot encode.
        _ => Signal::OwnDefect,
    };
    in_stage(named, stage, access)
}

fn of_sqlstate(code: &str) -> Signal {
    let matching = SQLSTATES.iter().filter(|(prefix, _)| code.starts_with(prefix));
    matching.max_by_key(|(prefix, _)| prefix.len()).map_or(Signal::OwnDefect, |(_, signal)| *signal)
}

/// The ruling on a signal, given where it occurred.
fn in_stage(named: Signal, stage: Stage, access: Access) -> Signal {
    match (named, stage, access) {
        (Signal::EndedWhenReused, Stage::Connecting, _) => Signal::Unreachable,
        (Signal::EndedWhenReused, _, Access::Write) => Signal::EndedInWrite,
        (Signal::EndedWhenReused, Stage::OnFresh, Access::Read) => Signal::EndedWhenFresh,
        (Signal::ReadOnly, Stage::OnReused, _) => Signal::ReadOnlyWhenReused,
        // A read does not wait for row locks, so the whole table is locked.
        (Signal::RowLocked, _, Access::Read) => Signal::TableLocked,
        // A read needs room only for its own temporary files.
        (Signal::DiskFull, _, Access::Read) => Signal::OutOfResources,
        (named, _, _) => named,
    }
}

impl Signal {
    /// When the signal is given, for the generated page.
    #[cfg(test)]
    pub(in crate::dependencies) const fn meaning(self) -> &'static str {
        match self {
            Self::Answered => "rows, or none",
            Self::BreakerOpen => "the breaker is open: nothing is sent",
            Self::NoTime => "nothing is left of the request's time: nothing is sent",
            Self::PoolFull => "all connections are in use for as long as a request may wait",
            Self::TooManyConnections => {
                "Postgres has no connection left, or answers other attempts to connect but this one not in time; waited for like a full pool"
            }
            Self::Unreachable => "refused, reset, unknown host",
            Self::ConnectSlow => "connecting takes longer than a request may wait, and the prober sees Postgres up",
            Self::ConnectTimeout => "no answer to connecting in time",
            Self::StartingUp => "Postgres is starting up, shutting down or recovering",
            Self::LoginRefused => "wrong user, password or database name",
            Self::EndedWhenReused => "a connection that was used before has ended; the statement reads",
            Self::EndedWhenFresh => "a connection made for this statement ended; the statement reads",
            Self::EndedInWrite => "the connection ended while a write ran: it may or may not have taken effect",
            Self::Silent => {
                "no answer in time, not even Postgres' own time-out: a write may or may not have taken effect"
            }
            Self::StatementTimeout => "Postgres' own `statement_timeout`: nothing was done",
            Self::TableLocked => "`lock_timeout` in a read, which waits for no row: the table is locked",
            Self::RowLocked => "`lock_timeout` in a write: another transaction holds the row",
            Self::Conflict => "deadlock or serialization failure: the transaction was rolled back",
            Self::StalePlan => "a column's type changed under a prepared statement, or the statement is gone",
            Self::ReadOnlyWhenReused => "read-only, on a connection that may be older than a failover",
            Self::ReadOnly => "read-only, on a fresh connection",
            Self::DiskFull => "the disk has no room for a write: nothing was done",
            Self::OutOfResources => {
                "out of memory, I/O error, corrupted data; no room for the temporary files of a read"
            }
            Self::InvalidData => "a value or constraint that this service's validation should have refused",
            Self::OwnDefect => {
                "undefined table or column, no privilege, syntax, undecodable rows, and every code not named here"
            }
        }
    }

    /// The table.
    pub(in crate::dependencies) const fn ruling(self) -> Ruling {
        use Connection::{AllDistrusted, Discarded, Kept, None as NoConnection};
        use Fault::{Dependency, Load, Nobody, Ours};
        use LogLevel::{Debug, Error, Warn};
        use Verdict::{Failure, Ignored, Success};
        match self {
            Self::Answered => ruling(Nobody, Success, Kept, Again::No, None, Debug, CallOutcome::Ok),
            Self::BreakerOpen => ruling(
                Dependency,
                Ignored,
                NoConnection,
                Again::No,
                Some(DatabaseError::NotAsked),
                Debug,
                CallOutcome::BreakerOpen,
            ),
            Self::NoTime => ruling(
                Nobody,
                Ignored,
                NoConnection,
                Again::No,
                Some(DatabaseError::NoTime),
                Debug,
                CallOutcome::Timeout,
            ),
            // All connections are in use, by statements that have their own rulings.
            Self::PoolFull | Self::TooManyConnections => {
                ruling(Load, Ignored, NoConnection, Again::No, Some(DatabaseError::Busy), Debug, CallOutcome::Busy)
            }
            // A busy machine, or the beginning of an outage. The prober finds out which.
            Self::ConnectSlow => ruling(
                Load,
                Ignored,
                NoConnection,
                Again::No,
                Some(DatabaseError::Unavailable),
                Debug,
                CallOutcome::Away,
            ),
            Self::Unreachable | Self::ConnectTimeout | Self::StartingUp => ruling(
                Dependency,
                Failure,
                NoConnection,
                Again::No,
                Some(DatabaseError::Unavailable),
                Debug,
                CallOutcome::Away,
            ),
            // For clients the database is unavailable; for the operator it is an error in the configuration.
            Self::LoginRefused => ruling(
                Ours,
                Failure,
                NoConnection,
                Again::No,
                Some(DatabaseError::Unavailable),
                Error,
                CallOutcome::Away,
            ),
            // The event has probably ended all connections. The breaker counts the attempt on a fresh one.
            Self::EndedWhenReused => ruling(
                Dependency,
                Ignored,
                AllDistrusted,
                Again::FreshConnection,
                Some(DatabaseError::Unavailable),
                Debug,
                CallOutcome::Away,
            ),
            Self::EndedWhenFresh => ruling(
                Dependency,
                Failure,
                AllDistrusted,
                Again::No,
                Some(DatabaseError::Unavailable),
                Debug,
                CallOutcome::Away,
            ),
            Self::EndedInWrite => ruling(
                Dependency,
                Ignored,
                AllDistrusted,
                Again::No,
                Some(DatabaseError::Timeout),
                Warn,
                CallOutcome::Away,
            ),
            // Postgres is unreachable or paused.
            Self::Silent => ruling(
                Dependency,
                Failure,
                Discarded,
                Again::No,
                Some(DatabaseError::Timeout),
                Debug,
                CallOutcome::Timeout,
            ),
            Self::StatementTimeout | Self::TableLocked => {
                ruling(Dependency, Failure, Kept, Again::No, Some(DatabaseError::Timeout), Debug, CallOutcome::Timeout)
            }
            // Postgres works, but two clients change the same row.
            Self::RowLocked => {
                ruling(Load, Success, Kept, Again::No, Some(DatabaseError::Locked), Debug, CallOutcome::Locked)
            }
            Self::Conflict => {
                ruling(Load, Success, Kept, Again::Transaction, Some(DatabaseError::Locked), Debug, CallOutcome::Locked)
            }
            Self::StalePlan => {
                ruling(Nobody, Success, Kept, Again::Prepared, Some(DatabaseError::Internal), Debug, CallOutcome::Error)
            }
            // A fresh connection shows whether the database is read-only or only this session.
            Self::ReadOnlyWhenReused => ruling(
                Dependency,
                Success,
                AllDistrusted,
                Again::FreshConnection,
                Some(DatabaseError::ReadOnly),
                Debug,
                CallOutcome::ReadOnly,
            ),
            Self::ReadOnly => ruling(
                Dependency,
                Success,
                Discarded,
                Again::No,
                Some(DatabaseError::ReadOnly),
                Debug,
                CallOutcome::ReadOnly,
            ),
            // Reads may still work, so the breaker ignores these: an open breaker would refuse them too.
            Self::DiskFull => {
                ruling(Dependency, Ignored, Kept, Again::No, Some(DatabaseError::Full), Error, CallOutcome::ReadOnly)
            }
            Self::OutOfResources => ruling(
                Dependency,
                Ignored,
                Kept,
                Again::No,
                Some(DatabaseError::Unavailable),
                Error,
                CallOutcome::Error,
            ),
            Self::InvalidData | Self::OwnDefect => {
                ruling(Ours, Success, Kept, Again::No, Some(DatabaseError::Internal), Error, CallOutcome::Error)
            }
        }
    }
}

const fn ruling(
    fault: Fault,
    verdict: Verdict,
    connection: Connection,
    again: Again,
    error: Option<DatabaseError>,
    level: LogLevel,
    outcome: CallOutcome,
) -> Ruling {
    Ruling { fault, verdict, connection, again, error, level, outcome }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    #[test]
    fn the_longest_match_names_a_sqlstate() {
        assert_eq!(of_sqlstate("57P03"), Signal::StartingUp);
        assert_eq!(of_sqlstate("57P01"), Signal::EndedWhenReused);
        assert_eq!(of_sqlstate("57014"), Signal::StatementTimeout);
        assert_eq!(of_sqlstate("53100"), Signal::DiskFull);
        assert_eq!(of_sqlstate("53200"), Signal::OutOfResources);
        assert_eq!(of_sqlstate("2200H"), Signal::InvalidData);
        for defect in ["42P01", "42703", "42501", "42601", "", "XX000"] {
            assert_eq!(of_sqlstate(defect), Signal::OwnDefect, "{defect}");
        }
    }

    #[test]
    fn a_write_runs_again_only_where_the_first_time_certainly_did_nothing() {
        let ended = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        for stage in [Stage::OnReused, Stage::OnFresh] {
            assert_eq!(signal(&ended, stage, Access::Write).ruling().again, Again::No);
        }
        assert_eq!(signal(&ended, Stage::OnReused, Access::Read).ruling().again, Again::FreshConnection);
        assert_eq!(Signal::Silent.ruling().again, Again::No);
    }

    #[test]
    fn faults_of_our_own_never_reach_the_breaker_and_are_always_logged_as_errors() {
        for signal in Signal::VARIANTS {
            let ruling = signal.ruling();
            if ruling.error == Some(DatabaseError::Internal) && ruling.again == Again::No {
                assert_eq!(
                    (ruling.fault, ruling.verdict, ruling.level),
                    (Fault::Ours, Verdict::Success, LogLevel::Error)
                );
            }
            if ruling.again != Again::No {
                assert_ne!(ruling.verdict, Verdict::Failure, "{signal:?}: the second try speaks to the breaker");
            }
        }
    }
}
