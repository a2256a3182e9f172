//! Which fault the words of `lab fault` mean.

use std::time::Duration;

use clap::{Args, ValueEnum};
use stack::{FaultKind, StackError};

use super::{parse_size, parse_time};

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lab fault pause postgres                 it hangs: connections are accepted, nothing is answered\n  \
    lab fault kill api-1 --for 5s            it crashes and is started again after 5 seconds\n  \
    lab fault cut postgres                   its packets vanish (needs root)\n  \
    lab fault slow redis --latency 50ms      every answer comes 50 ms later\n  \
    lab fault lock-row postgres --row 7      nobody can write record 7\n  \
    lab fault limit-connections postgres --most 2\n  \
    lab fault leak api-2 --rate 8mb --limit 128mb\n\n\
    Every fault is confirmed from outside before this returns, and undone by `lab heal`.")]
pub struct FaultArguments {
    /// How to break it
    pub kind: FaultArgument,
    /// postgres, redis, nginx, api-1, api-2 …
    pub target: String,
    /// Undo it after this time (like 500ms, 5s, 2m), also when interrupted before
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub time: Option<Duration>,
    /// slow: added to every answer
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub latency: Option<Duration>,
    /// slow: up to so much more or less
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub jitter: Option<Duration>,
    /// slow: bytes per second and connection (like 64kb)
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub bandwidth: Option<u64>,
    /// lock-table, lock-row, alter-column: which table [default: records]
    #[arg(long)]
    pub table: Option<String>,
    /// lock-row: the id of the row [default: 1]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub row: Option<i64>,
    /// alter-column: which column [default: value]
    #[arg(long)]
    pub column: Option<String>,
    /// alter-column: its type while the fault lasts [default: varchar]
    #[arg(long = "type", value_name = "TYPE")]
    pub to: Option<String>,
    /// corrupt: which key [default: record:v1:1]
    #[arg(long)]
    pub key: Option<String>,
    /// limit-connections: how many all replicas together may have [default: 2]
    #[arg(long, value_name = "N")]
    pub most: Option<u32>,
    /// limit-memory: how much Redis may use (like 1mb) [default: 1 byte]; leak: how much the replica may use [default: 128mb]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub limit: Option<u64>,
    /// leak: how much more memory each second [default: 8mb]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub rate: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FaultArgument {
    /// It crashes and stays dead
    Kill,
    /// It is shut down and stays away
    Stop,
    /// It hangs
    Pause,
    /// Its packets vanish
    Cut,
    /// postgres, redis: its answers come late to the replicas, or slowly
    Slow,
    /// postgres, redis: every connection of the replicas is reset
    Reset,
    /// postgres, redis: connections stay open and nothing passes
    HalfOpen,
    /// postgres: somebody has an exclusive lock on the table
    LockTable,
    /// postgres: somebody has a lock on a row
    LockRow,
    /// postgres: few connections for all replicas together
    LimitConnections,
    /// postgres: the replicas' connections are ended, once
    EndConnections,
    /// postgres: nothing can be written
    ReadOnly,
    /// postgres: a column gets another type, as by a migration
    AlterColumn,
    /// postgres: no space left on device for what is written; reads go on (needs root)
    FullDisk,
    /// redis: CLIENT PAUSE, no command is answered
    PauseClients,
    /// redis: no memory for writes
    LimitMemory,
    /// redis: everything is forgotten, once
    Flush,
    /// redis: an entry becomes unreadable, once
    Corrupt,
    /// api-1, api-2 …: it ends itself by `abort`
    Crash,
    /// api-1, api-2 …: it keeps more and more memory and is killed at its limit
    Leak,
}

impl FaultArguments {
    /// The fault, or which option does not belong to it.
    pub(crate) fn kind(&self) -> Result<FaultKind, StackError> {
        use FaultArgument as Word;
        let given = [
            ("--latency", self.latency.is_some(), &[Word::Slow][..]),
            ("--jitter", self.jitter.is_some(), &[Word::Slow]),
            ("--bandwidth", self.bandwidth.is_some(), &[Word::Slow]),
            ("--table", self.table.is_some(), &[Word::LockTable, Word::LockRow, Word::AlterColumn]),
            ("--column", self.column.is_some(), &[Word::AlterColumn]),
            ("--type", self.to.is_some(), &[Word::AlterColumn]),
            ("--key", self.key.is_some(), &[Word::Corrupt]),
            ("--row", self.row.is_some(), &[Word::LockRow]),
            ("--most", self.most.is_some(), &[Word::LimitConnections]),
            ("--limit", self.limit.is_some(), &[Word::LimitMemory, Word::Leak]),
            ("--rate", self.rate.is_some(), &[Word::Leak]),
        ];
        if let Some((option, ..)) = given.iter().find(|(_, given, of)| *given && !of.contains(&self.kind)) {
            return Err(StackError::Usage(format!("{option} means nothing to this fault; see `lab fault --help`")));
        }
        let table = || self.table.clone().unwrap_or_else(|| "records".to_owned());
        Ok(match self.kind {
            Word::Kill => FaultKind::Kill,
            Word::Stop => FaultKind::Stop,
            Word::Pause => FaultKind::Pause,
            Word::Cut => FaultKind::Cut,
            Word::Slow => FaultKind::Slow {
                latency: self.latency.unwrap_or_default(),
                jitter: self.jitter.unwrap_or_default(),
                bandwidth: self.bandwidth,
            },
            Word::Reset => FaultKind::Reset,
            Word::HalfOpen => FaultKind::HalfOpen,
            Word::LockTable => FaultKind::LockTable { table: table() },
            Word::LockRow => FaultKind::LockRow { table: table(), row: self.row.unwrap_or(1) },
            Word::LimitConnections => FaultKind::LimitConnections { most: self.most.unwrap_or(2) },
            Word::EndConnections => FaultKind::EndConnections,
            Word::ReadOnly => FaultKind::ReadOnly,
            Word::FullDisk => FaultKind::FullDisk,
            Word::PauseClients => FaultKind::PauseClients,
            Word::LimitMemory => FaultKind::LimitMemory { bytes: self.limit.unwrap_or(1) },
            Word::Flush => FaultKind::Flush,
            Word::AlterColumn => FaultKind::AlterColumn {
                table: table(),
                column: self.column.clone().unwrap_or_else(|| "value".to_owned()),
                to: self.to.clone().unwrap_or_else(|| "varchar".to_owned()),
            },
            Word::Corrupt => FaultKind::Corrupt { key: self.key.clone().unwrap_or_else(|| "record:v1:1".to_owned()) },
            Word::Crash => FaultKind::Crash,
            Word::Leak => {
                FaultKind::Leak { rate: self.rate.unwrap_or(8 << 20), limit: self.limit.unwrap_or(128 << 20) }
            }
        })
    }
}
