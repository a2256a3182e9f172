//! The rows of the matrix: which conditions, and what must come of them.

use std::{fmt, time::Duration};

use stack::Answer;

/// What is done to a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Up,
    /// SIGKILL: connections are refused.
    Killed,
    /// Shut down in good order.
    Stopped,
    /// SIGSTOP: connections are accepted, nothing is answered.
    Paused,
    /// Packets vanish without a word.
    Cut,
    /// Postgres: somebody holds a lock on the table.
    Locked,
    /// Redis: `CLIENT PAUSE`.
    ClientPaused,
    /// Postgres: two connections for all replicas together.
    Starved,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Killed => "away (killed)",
            Self::Stopped => "away (stopped)",
            Self::Paused => "hung (paused)",
            Self::Cut => "away (packets dropped)",
            Self::Locked => "hung (table locked)",
            Self::ClientPaused => "hung (CLIENT PAUSE)",
            Self::Starved => "2 connections allowed",
        })
    }
}

/// The state of the cache entry that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Fresh,
    Old,
    None,
    /// It makes no difference.
    Any,
}

/// What has to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// 200, a fresh entry.
    Hit,
    /// 200, read from Postgres and stored; a hit from the second time on.
    MissThenHit,
    /// 200, an old entry with its age.
    Stale,
    /// 200, past Redis.
    Bypass,
    /// 503 as a problem document of one of the database's codes.
    Unavailable,
    /// What Postgres says, or 503 `database_busy`.
    GoodOrBusy,
}

/// Which time is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bounded {
    /// The whole answer.
    Answer,
    /// What Redis costs of it, by the answer's own `Server-Timing`.
    Redis,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) says: Says,
    pub(super) bounded: Bounded,
    pub(super) first: Option<Duration>,
    pub(super) open: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) redis: Condition,
    pub(super) postgres: Condition,
    /// Whether Redis goes first, where both go.
    pub(super) redis_first: bool,
    pub(super) entry: Entry,
    pub(super) expected: Expected,
    /// A record that no other row asks for.
    pub(super) id: usize,
}

/// All rows, in the order of the contract.
pub(super) fn all() -> Vec<Row> {
    use Condition::{ClientPaused, Cut, Killed, Locked, Paused, Starved, Stopped, Up};
    use Entry::{Any, Fresh, None, Old};
    let ms = |number| Some(Duration::from_millis(number));
    let answer = |says, first, open| Expected { says, bounded: Bounded::Answer, first, open };
    let hit = answer(Says::Hit, ms(300), Option::None);
    let stale = answer(Says::Stale, ms(300), ms(50));
    let unavailable = answer(Says::Unavailable, ms(300), ms(10));
    let bypass = Expected { says: Says::Bypass, bounded: Bounded::Redis, first: ms(80), open: ms(5) };
    let both = answer(Says::Unavailable, ms(300), Option::None);
    let rows = [
        (Up, Up, Fresh, hit),
        (Up, Up, None, answer(Says::MissThenHit, ms(300), Option::None)),
        (Up, Killed, Fresh, hit),
        (Up, Paused, Fresh, hit),
        (Up, Killed, Old, stale),
        (Up, Paused, Old, stale),
        (Up, Killed, None, unavailable),
        (Up, Stopped, None, unavailable),
        (Up, Paused, None, unavailable),
        (Up, Cut, None, unavailable),
        (Up, Locked, None, unavailable),
        (Killed, Up, Any, bypass),
        (Stopped, Up, Any, bypass),
        (Paused, Up, Any, bypass),
        (Cut, Up, Any, bypass),
        (ClientPaused, Up, Any, bypass),
        (Killed, Killed, Any, both),
        (Paused, Paused, Any, both),
        (Paused, Killed, Any, both),
        (Killed, Paused, Any, both),
        (Up, Starved, None, answer(Says::GoodOrBusy, ms(300), Option::None)),
    ];
    let mut id = 0;
    let mut all = Vec::new();
    for (redis, postgres, entry, expected) in rows {
        let both_break = redis != Up && postgres != Up;
        // Where both break, both orders are rows.
        for redis_first in if both_break { &[true, false][..] } else { &[true] } {
            id += 1;
            all.push(Row { redis, postgres, redis_first: *redis_first, entry, expected, id });
        }
    }
    all
}

impl Row {
    pub(super) fn is_broken(&self) -> bool {
        self.redis != Condition::Up || self.postgres != Condition::Up
    }

    /// The dependency whose breaker opens in this row, if the row says something about the time after that.
    pub(super) fn breaker(&self) -> Option<&'static str> {
        self.expected.open?;
        Some(if self.redis == Condition::Up { "postgres" } else { "redis" })
    }

    /// How many requests come at the same time: without a crowd two connections are enough for everybody.
    pub(super) fn at_once(&self) -> usize {
        if self.postgres == Condition::Starved { 20 } else { 1 }
    }

    /// Holds an answer against what it has to say.
    pub(super) fn judge(&self, answer: &Answer) -> Result<(), String> {
        let cache = answer.header("cache-status").unwrap_or_default();
        let is_hit = cache.starts_with("redis; hit; ttl=");
        let stale = cache == "redis; hit; detail=stale" && answer.header("age").is_some();
        let good = answer.status == 200;
        let as_expected = match self.expected.says {
            Says::Hit => good && is_hit,
            Says::MissThenHit => good && (is_hit || cache == "redis; fwd=uri-miss; stored"),
            Says::Stale => good && stale,
            Says::Bypass => good && cache.starts_with("redis; fwd=bypass; detail="),
            Says::Unavailable => {
                is_problem(answer, &["database_unavailable", "database_timeout", "database_not_asked"])
            }
            // The ids asked for are no record's.
            Says::GoodOrBusy => answer.status == 404 || is_problem(answer, &["database_busy"]),
        };
        if as_expected {
            return Ok(());
        }
        let says = self.expected.says;
        Err(format!("{says:?} was expected; it was {} with Cache-Status `{cache}`: {}", answer.status, answer.body))
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "redis {}, postgres {}, entry {:?}", self.redis, self.postgres, self.entry)?;
        if self.redis != Condition::Up && self.postgres != Condition::Up {
            write!(f, ", {} first", if self.redis_first { "redis" } else { "postgres" })?;
        }
        Ok(())
    }
}

/// A 503 of the right form: every one says when to come back and who is at fault.
fn is_problem(answer: &Answer, codes: &[&str]) -> bool {
    answer.status == 503
        && answer.header("content-type") == Some("application/problem+json")
        && answer.header("retry-after").is_some()
        && answer.body.contains(r#""dependency":"postgres""#)
        && codes.iter().any(|code| answer.body.contains(&format!(r#""code":"{code}""#)))
}

/// As good as with everything up: from Postgres or a fresh entry, and Redis did its part.
pub(super) fn is_good(answer: &Answer) -> bool {
    let cache = answer.header("cache-status").unwrap_or_default();
    answer.status == 200 && (cache.starts_with("redis; hit; ttl=") || cache.contains("stored"))
}

/// What Redis cost, as the answer itself says.
pub(super) fn redis_time(answer: &Answer) -> Option<Duration> {
    let timing = answer.header("server-timing")?;
    let milliseconds: f64 = timing.split("redis;dur=").nth(1)?.split(',').next()?.parse().ok()?;
    Some(Duration::from_secs_f64(milliseconds / 1e3))
}
