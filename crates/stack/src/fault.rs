//! What can be broken and how. The life of a fault, in the order of time:
//!
//! 1. It is checked: does it exist for this target, is it permitted, would it change anything, can it be undone?
//! 2. It is noted in the [`ledger`], with all that its undoing will need.
//! 3. It acts.
//! 4. Its effect is confirmed from outside, as a client meets it; the ledger says when and how. A fault whose effect does not
//!    show is taken back.
//! 5. It is undone, by whoever gave it or by `lab heal` (see [`healing`]), and waited for until its target answers.

mod cache;
mod database;
mod full_disk;
pub(crate) mod healing;
mod held;
pub(crate) mod injection;
pub(crate) mod ledger;
mod network;
mod replica;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

pub(crate) use self::network::Shape;
use crate::{StackError, Target};

/// A way to break a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// It crashes: SIGKILL, no chance to say goodbye. It stays dead until it is healed.
    Kill,
    /// It is shut down in good order and stays away.
    Stop,
    /// It hangs: connections are accepted, nothing is answered.
    Pause,
    /// It lives but cannot be reached: packets vanish.
    Cut,
    /// Postgres, Redis: what it says reaches the replicas later, through a proxy of the lab's own.
    Slow {
        /// Added to every answer.
        #[serde(with = "milliseconds", rename = "latency_ms")]
        latency: Duration,
        /// Up to so much more or less than `latency`, drawn anew for each piece of an answer; not more than it.
        #[serde(with = "milliseconds", rename = "jitter_ms")]
        jitter: Duration,
        /// Bytes per second and connection in each direction; `None`: no limit.
        bandwidth: Option<u64>,
    },
    /// Postgres, Redis: every connection of a replica is reset, those that are open and those to come.
    Reset,
    /// Postgres, Redis: connections stay open and nothing passes any more, as when the other machine lost its power.
    HalfOpen,
    /// Postgres: somebody holds an exclusive lock on a table.
    LockTable { table: String },
    /// Postgres: somebody holds a lock on one row.
    LockRow { table: String, row: i64 },
    /// Postgres: so many connections of all replicas together, and no more.
    LimitConnections { most: u32 },
    /// Postgres: every connection of the replicas is ended, once.
    EndConnections,
    /// Postgres: nothing can be written.
    ReadOnly,
    /// Postgres: a column gets another type that holds the same values, as an online migration does it. Statements that
    /// were prepared before fail once on each connection (0A000).
    AlterColumn { table: String, column: String, to: String },
    /// Postgres: no space left on device for what is written to `records`; reads go on.
    FullDisk,
    /// Redis: `CLIENT PAUSE`; no command is answered.
    PauseClients,
    /// Redis: no memory for writes (`maxmemory` in bytes, nothing is evicted).
    LimitMemory { bytes: u64 },
    /// Redis: everything is forgotten, once (`FLUSHALL`).
    Flush,
    /// Redis: what stands under a key becomes something that no replica can read, once.
    Corrupt { key: String },
    /// A replica: it ends itself by `abort`, as a defect in native code ends a process. A supervisor that there is acts.
    Crash,
    /// A replica: it keeps more and more memory and is killed at its limit.
    Leak {
        /// Bytes per second.
        rate: u64,
        /// Bytes of memory that the replica may use in all.
        limit: u64,
    },
}

/// What a driver does to a server as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFault {
    Kill,
    Stop,
    Pause,
    Cut,
    /// From the inside, of a replica only.
    Crash,
}

impl From<ServerFault> for FaultKind {
    fn from(fault: ServerFault) -> Self {
        match fault {
            ServerFault::Kill => Self::Kill,
            ServerFault::Stop => Self::Stop,
            ServerFault::Pause => Self::Pause,
            ServerFault::Cut => Self::Cut,
            ServerFault::Crash => Self::Crash,
        }
    }
}

impl fmt::Display for ServerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(FaultKind::from(*self).name())
    }
}

impl FaultKind {
    /// As in commands and JSON.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Stop => "stop",
            Self::Pause => "pause",
            Self::Cut => "cut",
            Self::Slow { .. } => "slow",
            Self::Reset => "reset",
            Self::HalfOpen => "half-open",
            Self::LockTable { .. } => "lock-table",
            Self::LockRow { .. } => "lock-row",
            Self::LimitConnections { .. } => "limit-connections",
            Self::EndConnections => "end-connections",
            Self::ReadOnly => "read-only",
            Self::AlterColumn { .. } => "alter-column",
            Self::PauseClients => "pause-clients",
            Self::LimitMemory { .. } => "limit-memory",
            Self::Flush => "flush",
            Self::Corrupt { .. } => "corrupt",
            Self::FullDisk => "full-disk",
            Self::Crash => "crash",
            Self::Leak { .. } => "leak",
        }
    }

    /// `None` for what is done inside a dependency or on the way to it.
    pub(crate) fn of_server(&self) -> Option<ServerFault> {
        match self {
            Self::Kill => Some(ServerFault::Kill),
            Self::Stop => Some(ServerFault::Stop),
            Self::Pause => Some(ServerFault::Pause),
            Self::Cut => Some(ServerFault::Cut),
            Self::Crash => Some(ServerFault::Crash),
            Self::Slow { .. }
            | Self::Reset
            | Self::HalfOpen
            | Self::LockTable { .. }
            | Self::LockRow { .. }
            | Self::LimitConnections { .. }
            | Self::EndConnections
            | Self::ReadOnly
            | Self::AlterColumn { .. }
            | Self::FullDisk
            | Self::PauseClients
            | Self::LimitMemory { .. }
            | Self::Flush
            | Self::Corrupt { .. }
            | Self::Leak { .. } => None,
        }
    }

    /// Whether it is on the way between replicas and a dependency.
    pub(crate) fn is_of_network(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Reset | Self::HalfOpen)
    }

    /// Over as soon as it was done: there is nothing to undo.
    #[must_use]
    pub fn is_momentary(&self) -> bool {
        matches!(self, Self::EndConnections | Self::Flush | Self::Corrupt { .. })
    }

    /// It is written into Postgres' own data: it would outlive the server's end.
    pub(crate) fn is_persistent(&self) -> bool {
        matches!(self, Self::LimitConnections { .. } | Self::ReadOnly | Self::AlterColumn { .. } | Self::FullDisk)
    }

    /// Refuses what this target cannot have, and absurd values.
    pub(crate) fn check(&self, target: Target) -> Result<(), StackError> {
        let usage = |text: String| Err(StackError::Usage(text));
        let fits = match self {
            Self::Kill | Self::Stop | Self::Pause | Self::Cut => true,
            Self::Slow { .. } | Self::Reset | Self::HalfOpen => matches!(target, Target::Postgres | Target::Redis),
            Self::LockTable { .. }
            | Self::LockRow { .. }
            | Self::LimitConnections { .. }
            | Self::EndConnections
            | Self::ReadOnly
            | Self::AlterColumn { .. }
            | Self::FullDisk => target == Target::Postgres,
            Self::PauseClients | Self::LimitMemory { .. } | Self::Flush | Self::Corrupt { .. } => {
                target == Target::Redis
            }
            Self::Crash | Self::Leak { .. } => matches!(target, Target::Api(_)),
        };
        if !fits {
            return usage(format!("{} is no fault of {target}", self.name()));
        }
        match self {
            Self::Slow { latency, jitter, bandwidth } => {
                if latency.is_zero() && bandwidth.is_none() {
                    usage("slow by how much? --latency or --bandwidth".to_owned())
                } else if *latency > LONGEST_LATENCY {
                    usage(format!("a latency of more than {} s is none: use half-open", LONGEST_LATENCY.as_secs()))
                } else if jitter > latency {
                    usage("the jitter is larger than the latency".to_owned())
                } else if bandwidth.is_some_and(|bytes| bytes < LEAST_BANDWIDTH) {
                    usage(format!("a bandwidth below {LEAST_BANDWIDTH} bytes per second is none: use half-open"))
                } else {
                    Ok(())
                }
            }
            Self::LockTable { table } | Self::LockRow { table, .. } if !is_identifier(table) => {
                usage(format!("`{table}` cannot be the name of a table"))
            }
            Self::AlterColumn { table, column, .. } if !is_identifier(table) || !is_identifier(column) => {
                usage(format!("`{table}.{column}` cannot be the name of a column"))
            }
            Self::AlterColumn { to, .. } if !is_type(to) => usage(format!("`{to}` cannot be the name of a type")),
            Self::Corrupt { key } if key.is_empty() || key.len() > LONGEST_KEY => {
                usage(format!("a key has 1 to {LONGEST_KEY} bytes"))
            }
            Self::LimitConnections { most } if *most > MOST_CONNECTIONS => {
                usage(format!("Postgres itself has no more than {MOST_CONNECTIONS} connections"))
            }
            Self::LimitMemory { bytes: 0 } => usage("for Redis a limit of 0 bytes means none".to_owned()),
            Self::Leak { rate, .. } if !LEAK_RATES.contains(rate) => {
                usage(format!("a leak is of {} to {} bytes per second", LEAK_RATES.start(), LEAK_RATES.end()))
            }
            Self::Leak { limit, .. } if *limit > LARGEST_LIMIT => {
                usage(format!("a limit of more than {LARGEST_LIMIT} bytes could take all memory of this machine"))
            }
            _ => Ok(()),
        }
    }
}

/// Longer than any client waits.
const LONGEST_LATENCY: Duration = Duration::from_secs(60);
/// A handshake of a few hundred bytes ends within seconds.
const LEAST_BANDWIDTH: u64 = 100;
/// `max_connections` as the drivers set it.
const MOST_CONNECTIONS: u32 = 100;

/// Those of the API have a tenth of it.
const LONGEST_KEY: usize = 1_000;

/// `varchar`, `numeric(10, 2)`, `double precision`: it becomes part of a statement.
fn is_type(name: &str) -> bool {
    name.chars().next().is_some_and(|first| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_ (),".contains(c))
        && name.len() < 64
}
/// So much that it shows within seconds, and not so much that the replica has no time for anything else.
const LEAK_RATES: std::ops::RangeInclusive<u64> = (256 << 10)..=(1 << 30);
const LARGEST_LIMIT: u64 = 8 << 30;

/// A plain name: it becomes part of a statement.
fn is_identifier(name: &str) -> bool {
    name.chars().next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() < 64
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slow { latency, jitter, bandwidth } => {
                f.write_str("slow")?;
                if !latency.is_zero() {
                    write!(f, " by {latency:?}")?;
                }
                if !jitter.is_zero() {
                    write!(f, " ± {jitter:?}")?;
                }
                bandwidth.map_or(Ok(()), |bytes| write!(f, " at {bytes} bytes/s"))
            }
            Self::LockTable { table } => write!(f, "lock-table {table}"),
            Self::LockRow { table, row } => write!(f, "lock-row {table} {row}"),
            Self::LimitConnections { most } => write!(f, "limit-connections {most}"),
            Self::AlterColumn { table, column, to } => write!(f, "alter-column {table}.{column} to {to}"),
            Self::Corrupt { key } => write!(f, "corrupt {key}"),
            Self::LimitMemory { bytes } => write!(f, "limit-memory {bytes} bytes"),
            Self::Leak { rate, limit } => write!(f, "leak of {rate} bytes/s up to {limit} bytes"),
            Self::Kill
            | Self::Stop
            | Self::Pause
            | Self::Cut
            | Self::Reset
            | Self::HalfOpen
            | Self::EndConnections
            | Self::ReadOnly
            | Self::FullDisk
            | Self::PauseClients
            | Self::Flush
            | Self::Crash => f.write_str(self.name()),
        }
    }
}

/// A fault that has taken hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Injected {
    /// By which it can be undone alone; never used twice in the life of a stack.
    pub id: u64,
    pub target: Target,
    #[serde(flatten)]
    pub kind: FaultKind,
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// The beginning of the first look from outside that met the effect.
    #[serde(with = "time::serde::rfc3339")]
    pub took_effect_at: OffsetDateTime,
    /// What that look met.
    pub evidence: String,
    /// What was done.
    pub action: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.target, self.action, self.evidence)
    }
}

/// A target that was put right again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Healed {
    pub target: Target,
    /// What had been done to it; `None` when it was not right for another reason.
    pub kind: Option<FaultKind>,
    /// When the undoing of this one began: recovery is counted from here.
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// When it was first seen to answer again.
    #[serde(with = "time::serde::rfc3339")]
    pub answered_at: OffsetDateTime,
    /// What was done.
    pub action: String,
}

impl fmt::Display for Healed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.target, self.action)
    }
}

/// A fault that was given and not undone yet, as the ledger has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveFault {
    pub id: u64,
    pub target: Target,
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Who gave it.
    pub by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// `None`: not confirmed, because the lab is still at it or was cut short.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub took_effect_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub evidence: Option<String>,
}

impl ActiveFault {
    /// How long it has been there by the machine's clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        (now() - self.took_effect_at.unwrap_or(self.asked_at)).try_into().unwrap_or_default()
    }
}

/// The time of day, to be compared with that of other programs.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// A duration as a number of milliseconds.
mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64() * 1e3)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)? / 1e3).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(latency: u64, jitter: u64, bandwidth: Option<u64>) -> FaultKind {
        let ms = Duration::from_millis;
        FaultKind::Slow { latency: ms(latency), jitter: ms(jitter), bandwidth }
    }

    #[test]
    fn a_fault_is_read_as_it_was_written() {
        for kind in [
            FaultKind::Kill,
            slow(50, 5, Some(1000)),
            FaultKind::HalfOpen,
            FaultKind::LockRow { table: "records".into(), row: -1 },
            FaultKind::LimitMemory { bytes: 1 },
            FaultKind::AlterColumn { table: "records".into(), column: "value".into(), to: "varchar".into() },
            FaultKind::Corrupt { key: "record:v1:1".into() },
            FaultKind::Leak { rate: 1, limit: 2 },
        ] {
            let now = now();
            let fault = ActiveFault {
                id: 7,
                target: Target::Postgres,
                kind,
                by: "a test".into(),
                asked_at: now,
                took_effect_at: Some(now),
                evidence: None,
            };
            let text = serde_json::to_string(&fault).unwrap();
            assert_eq!(serde_json::from_str::<ActiveFault>(&text).unwrap(), fault, "{text}");
            assert!(text.contains(&format!("\"kind\":\"{}\"", fault.kind.name())), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let table = |name: &str| FaultKind::LockTable { table: name.into() };
        let alter = |column: &str, to: &str| FaultKind::AlterColumn {
            table: "records".into(),
            column: column.into(),
            to: to.into(),
        };
        for (kind, target) in [
            (slow(0, 0, None), Target::Redis),
            (slow(10, 11, None), Target::Redis),
            (slow(60_001, 0, None), Target::Redis),
            (slow(10, 0, Some(0)), Target::Redis),
            (slow(10, 0, None), Target::Nginx),
            (slow(10, 0, None), Target::Api(1)),
            (table("records; DROP TABLE records"), Target::Postgres),
            (table(""), Target::Postgres),
            (table("records"), Target::Redis),
            (FaultKind::Flush, Target::Postgres),
            (FaultKind::Corrupt { key: String::new() }, Target::Redis),
            (alter("value; DROP TABLE records", "text"), Target::Postgres),
            (alter("value", "text USING ''; DROP TABLE records"), Target::Postgres),
            (alter("value", "text"), Target::Redis),
            (FaultKind::LimitMemory { bytes: 0 }, Target::Redis),
            (FaultKind::LimitConnections { most: 101 }, Target::Postgres),
            (FaultKind::Crash, Target::Redis),
            (FaultKind::Leak { rate: 1 << 20, limit: 1 << 27 }, Target::Nginx),
            (FaultKind::Leak { rate: 0, limit: 1 << 27 }, Target::Api(1)),
            (FaultKind::Leak { rate: 1 << 20, limit: 1 << 40 }, Target::Api(1)),
        ] {
            assert!(matches!(kind.check(target), Err(StackError::Usage(_))), "{kind} {target}");
        }
        for (kind, target) in [
            (slow(10, 10, None), Target::Redis),
            (slow(0, 0, Some(100)), Target::Postgres),
            (table("records"), Target::Postgres),
            (alter("value", "numeric(10, 2)"), Target::Postgres),
            (FaultKind::Cut, Target::Nginx),
        ] {
            assert!(kind.check(target).is_ok(), "{kind} {target}");
        }
    }
}
