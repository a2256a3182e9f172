//! The faults that can be injected. The life of a fault, in the order of time:
//!
//! 1. It is checked: does it exist for this target, is it permitted, does it change anything, can it be undone?
//! 2. It is recorded in the [`ledger`], with all data that the undo needs.
//! 3. It is injected.
//! 4. Its effect is confirmed from outside, as a client sees it; the ledger says when and how. A fault whose effect
//!    does not show is undone.
//! 5. It is undone, by the program that injected it or by `lab heal` (see [`healing`]), which waits until its target
//!    answers.

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

/// A kind of fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// It crashes (SIGKILL, without a clean shutdown) and stays dead until it is healed.
    Kill,
    /// It shuts down cleanly and stays down.
    Stop,
    /// It hangs: connections are accepted, but nothing is answered.
    Pause,
    /// It runs but cannot be reached: packets are dropped.
    Cut,
    /// Postgres, Redis: its answers reach the replicas late, through a proxy of the lab.
    Slow {
        /// Added to every answer.
        #[serde(with = "milliseconds", rename = "latency_ms")]
        latency: Duration,
        /// The latency varies by up to this much, at random for each piece of an answer; at most `latency`.
        #[serde(with = "milliseconds", rename = "jitter_ms")]
        jitter: Duration,
        /// Bytes per second per connection and direction; `None`: no limit.
        bandwidth: Option<u64>,
    },
    /// Postgres, Redis: every connection of a replica is reset, open ones and new ones.
    Reset,
    /// Postgres, Redis: connections stay open but nothing is transmitted, as when the other machine loses power.
    HalfOpen,
    /// Postgres: another session holds an exclusive lock on a table.
    LockTable { table: String },
    /// Postgres: another session holds a lock on one row.
    LockRow { table: String, row: i64 },
    /// Postgres: a limit on the connections of all replicas together.
    LimitConnections { most: u32 },
    /// Postgres: every connection of the replicas is terminated, once.
    EndConnections,
    /// Postgres: read-only, all writes are refused.
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
    /// Redis: all entries are deleted, once (`FLUSHALL`).
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

/// A fault of a whole server, which a driver injects.
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
    /// The name used in commands and JSON.
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
            Self::Corrupt { .. } => "corrupt",
            Self::FullDisk => "full-disk",
            Self::PauseClients => "pause-clients",
            Self::LimitMemory { .. } => "limit-memory",
            Self::Flush => "flush",
            Self::Crash => "crash",
            Self::Leak { .. } => "leak",
        }
    }

    /// `None` for a fault inside a dependency or on the network to it.
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
            | Self::Corrupt { .. }
            | Self::FullDisk
            | Self::PauseClients
            | Self::LimitMemory { .. }
            | Self::Flush
            | Self::Leak { .. } => None,
        }
    }

    /// Whether it is a fault of the network between replicas and a dependency.
    pub(crate) fn is_of_network(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Reset | Self::HalfOpen)
    }

    /// Whether it is over as soon as it was injected: there is nothing to undo.
    #[must_use]
    pub fn is_momentary(&self) -> bool {
        matches!(self, Self::EndConnections | Self::Flush | Self::Corrupt { .. })
    }

    /// Whether it is stored in Postgres' data, so that it outlives the server.
    pub(crate) fn is_persistent(&self) -> bool {
        matches!(self, Self::LimitConnections { .. } | Self::ReadOnly | Self::AlterColumn { .. } | Self::FullDisk)
    }

    /// Refuses a fault that this target cannot have, and absurd values.
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
            return usage(format!("the fault {} is not available for {target}", self.name()));
        }
        match self {
            Self::Slow { latency, jitter, bandwidth } => {
                if latency.is_zero() && bandwidth.is_none() {
                    usage("give --latency or --bandwidth".to_owned())
                } else if *latency > LONGEST_LATENCY {
                    usage(format!(
                        "the latency must be at most {} s; use half-open for more",
                        LONGEST_LATENCY.as_secs()
                    ))
                } else if jitter > latency {
                    usage("the jitter must not be larger than the latency".to_owned())
                } else if bandwidth.is_some_and(|bytes| bytes < LEAST_BANDWIDTH) {
                    usage(format!(
                        "the bandwidth must be at least {LEAST_BANDWIDTH} bytes per second; use half-open for less"
                    ))
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
                usage(format!("Postgres itself allows only {MOST_CONNECTIONS} connections"))
            }
            Self::LimitMemory { bytes: 0 } => usage("Redis treats a limit of 0 bytes as no limit".to_owned()),
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
/// `max_connections`, as the drivers set it.
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

/// A fault that has taken effect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Injected {
    /// Identifies the fault, so that it can be undone alone; never reused during the life of a stack.
    pub id: u64,
    pub target: Target,
    #[serde(flatten)]
    pub kind: FaultKind,
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// The start of the first check from outside that observed the effect.
    #[serde(with = "time::serde::rfc3339")]
    pub took_effect_at: OffsetDateTime,
    /// What that check observed.
    pub evidence: String,
    /// What was done.
    pub action: String,
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.target, self.action, self.evidence)
    }
}

/// A healed target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Healed {
    pub target: Target,
    /// The fault; `None` if the target was down for another reason.
    pub kind: Option<FaultKind>,
    /// When the undo of this fault started: recovery time is counted from here.
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// When it was first observed to answer again.
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

/// An injected fault that is not undone yet, as recorded in the ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActiveFault {
    pub id: u64,
    pub target: Target,
    #[serde(flatten)]
    pub kind: FaultKind,
    /// The program that injected it.
    pub by: String,
    #[serde(with = "time::serde::rfc3339")]
    pub asked_at: OffsetDateTime,
    /// `None`: not confirmed, because the injection is still running or was interrupted.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub took_effect_at: Option<OffsetDateTime>,
    #[serde(default)]
    pub evidence: Option<String>,
}

impl ActiveFault {
    /// Its age by the machine's clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        (now() - self.took_effect_at.unwrap_or(self.asked_at)).try_into().unwrap_or_default()
    }
}

/// The wall-clock time, comparable with that of other programs.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// Serializes a duration as a number of milliseconds.
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
    fn a_fault_survives_a_round_trip_through_json() {
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
    fn absurd_faults_are_refused() {
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
