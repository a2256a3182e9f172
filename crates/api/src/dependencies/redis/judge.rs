//! The meaning of each outcome of Redis: the one table from signal to ruling. `docs/outcomes.md` is generated from it.
//!
//! # In the order of time
//! ## Name
//! [`signal`] gives an error its name, by the first word of the reply (Redis' error codes) or by where the call broke.
//! ## Rule
//! [`Signal::ruling`] defines the cause, how the breaker counts it, whether the connection is kept, whether the command
//! is retried, what the caller gets and how it is logged.

use deadpool_redis::redis::{self, ErrorKind, ServerErrorKind};

use crate::dependencies::{CallOutcome, Fault, LogLevel, Verdict};

/// Why a call to Redis failed. A read then goes to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum RedisError {
    /// There is no connection, it broke, or Redis is not ready to serve.
    Away,
    /// No answer in time.
    Timeout,
    /// The breaker is open: nothing was sent.
    BreakerOpen,
    /// Redis refuses every write, including deletions, so its entries may be out of date.
    ReadOnly,
    /// Redis refuses to store more, but accepts deletions.
    Full,
    /// The key holds a value of another type.
    Corrupt,
    /// Redis does not know the script; the caller sends its source.
    UnknownScript,
    /// A defect of this service; the log has the cause.
    Error,
}

impl RedisError {
    /// The word for `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

/// The name of an outcome of Redis or of the connection to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(in crate::dependencies) enum Signal {
    Answered,
    BreakerOpen,
    NoTime,
    Stalled,
    NoConnection,
    Broken,
    Silent,
    NotReady,
    LoginRefused,
    RefusesWrites,
    Full,
    WrongType,
    UnknownScript,
    OwnDefect,
}

/// What happens to the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(in crate::dependencies) enum Connection {
    /// There is none.
    None,
    /// Stays in use.
    Kept,
    /// No longer used.
    Discarded,
}

/// What a signal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dependencies) struct Ruling {
    pub(in crate::dependencies) fault: Fault,
    pub(in crate::dependencies) verdict: Verdict,
    pub(in crate::dependencies) connection: Connection,
    /// Whether the command is sent once more, within the limits of attempts, deadline and budget. Every command here
    /// may run twice.
    pub(in crate::dependencies) again: bool,
    /// What the caller gets; `None`: the answer.
    pub(in crate::dependencies) error: Option<RedisError>,
    pub(in crate::dependencies) level: LogLevel,
    pub(in crate::dependencies) outcome: CallOutcome,
}

/// First words of error replies that have their own meaning. Every other one is [`Signal::OwnDefect`].
pub(in crate::dependencies) const CODES: &[(&str, Signal)] = &[
    ("LOADING", Signal::NotReady),
    ("BUSY", Signal::NotReady),
    ("MASTERDOWN", Signal::NotReady),
    ("CLUSTERDOWN", Signal::NotReady),
    ("TRYAGAIN", Signal::NotReady),
    ("MOVED", Signal::NotReady),
    ("ASK", Signal::NotReady),
    ("DENIED", Signal::LoginRefused),
    ("NOAUTH", Signal::LoginRefused),
    ("WRONGPASS", Signal::LoginRefused),
    ("READONLY", Signal::RefusesWrites),
    ("MISCONF", Signal::RefusesWrites),
    ("NOREPLICAS", Signal::RefusesWrites),
    ("NOPERM", Signal::RefusesWrites),
    ("OOM", Signal::Full),
    ("WRONGTYPE", Signal::WrongType),
    ("NOSCRIPT", Signal::UnknownScript),
];

/// Names an error.
pub(in crate::dependencies) fn signal(error: &redis::RedisError) -> Signal {
    let code = error.code().unwrap_or_default();
    if let Some((_, signal)) = CODES.iter().find(|(known, _)| *known == code) {
        return *signal;
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => Signal::LoginRefused,
        // "-ERR max number of clients reached" has no code of its own; Redis closes the connection after it.
        ErrorKind::Server(ServerErrorKind::ResponseError)
            if error.detail().is_some_and(|detail| detail.starts_with("max number of clients")) =>
        {
            Signal::NotReady
        }
        ErrorKind::UnexpectedReturnType => Signal::OwnDefect,
        _ if error.is_io_error() || error.is_unrecoverable_error() || error.kind() == ErrorKind::Parse => {
            Signal::Broken
        }
        _ => Signal::OwnDefect,
    }
}

impl Signal {
    /// When the signal is given, for the generated page.
    #[cfg(test)]
    pub(in crate::dependencies) const fn meaning(self) -> &'static str {
        match self {
            Self::Answered => "a reply",
            Self::BreakerOpen => "the breaker is open: nothing is sent",
            Self::NoTime => "nothing is left of the request's time: nothing is sent",
            Self::Stalled => "this process did not run until the request's time was over: a reply may have been there",
            Self::NoConnection => "there is no connection at the moment; the task that owns it tries twice a second",
            Self::Broken => "the connection broke while the command was under way, or what came is not Redis' protocol",
            Self::Silent => "no reply in time",
            Self::NotReady => "loading, busy with a script, cluster or master down, keys elsewhere, too many clients",
            Self::LoginRefused => "user or password missing or wrong, or only local clients are accepted",
            Self::RefusesWrites => "a replica, a failing disk, too few replicas, or no permission",
            Self::Full => "out of memory with `noeviction`: refuses to store, still deletes",
            Self::WrongType => "the value under the key is not a string: reported as `corrupt`, and replaced",
            Self::UnknownScript => "the script is then sent in full",
            Self::OwnDefect => "syntax, unknown command, and every code not named here",
        }
    }

    /// The table.
    pub(in crate::dependencies) const fn ruling(self) -> Ruling {
        use CallOutcome as Outcome;
        use Connection::{Discarded, Kept, None as NoConnection};
        use Fault::{Dependency, Nobody, Ours};
        use LogLevel::{Debug, Error};
        use RedisError as To;
        use Verdict::{Failure, Ignored, Success};
        match self {
            Self::Answered => ruling(Nobody, Success, Kept, false, None, Debug, Outcome::Ok),
            Self::BreakerOpen => {
                ruling(Dependency, Ignored, NoConnection, false, Some(To::BreakerOpen), Debug, Outcome::BreakerOpen)
            }
            Self::NoTime => ruling(Nobody, Ignored, NoConnection, false, Some(To::Timeout), Debug, Outcome::Timeout),
            Self::Stalled => ruling(Nobody, Ignored, Kept, false, Some(To::Timeout), Debug, Outcome::Timeout),
            Self::NoConnection => {
                ruling(Dependency, Failure, NoConnection, false, Some(To::Away), Debug, Outcome::Away)
            }
            Self::Broken => ruling(Dependency, Failure, Discarded, true, Some(To::Away), Debug, Outcome::Away),
            // A connection may be slow for one command. The task that owns it checks whether it still works.
            Self::Silent => ruling(Dependency, Failure, Kept, true, Some(To::Timeout), Debug, Outcome::Timeout),
            Self::NotReady => ruling(Dependency, Failure, Kept, false, Some(To::Away), Debug, Outcome::Away),
            Self::LoginRefused => ruling(Ours, Failure, Discarded, false, Some(To::Away), Error, Outcome::Away),
            // Redis answers, but its entries may be out of date. The prober logs it once.
            Self::RefusesWrites => {
                ruling(Dependency, Success, Kept, false, Some(To::ReadOnly), Debug, Outcome::ReadOnly)
            }
            Self::Full => ruling(Dependency, Success, Kept, false, Some(To::Full), Debug, Outcome::ReadOnly),
            // This concerns one key, not Redis.
            Self::WrongType => ruling(Nobody, Success, Kept, false, Some(To::Corrupt), Debug, Outcome::Corrupt),
            Self::UnknownScript => ruling(Nobody, Success, Kept, false, Some(To::UnknownScript), Debug, Outcome::Ok),
            Self::OwnDefect => ruling(Ours, Success, Kept, false, Some(To::Error), Error, Outcome::Error),
        }
    }
}

const fn ruling(
    fault: Fault,
    verdict: Verdict,
    connection: Connection,
    again: bool,
    error: Option<RedisError>,
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
    fn only_what_redis_did_not_answer_in_time_is_sent_again() {
        for signal in Signal::VARIANTS {
            let ruling = signal.ruling();
            if ruling.again {
                assert_eq!(ruling.verdict, Verdict::Failure, "{signal:?}");
            }
            if ruling.fault == Fault::Nobody {
                assert_ne!(ruling.verdict, Verdict::Failure, "{signal:?}");
            }
        }
    }
}
