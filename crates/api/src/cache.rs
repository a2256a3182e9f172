//! Cache-aside in Redis: two caches with a law each, and what they share.
//!
//! [`records`]: an entry carries the version of its record, and no write ever puts an older version over a newer one.
//! [`pages`]: a page carries the *generation* under which it was read, and every write of a record starts a new one.
//! [`missed`]: the writes of which Redis did not hear, until it has.
//!
//! An entry is only good while Redis would have taken its replacement. So look-ups use commands that Redis refuses
//! whenever it refuses writes (`GETEX` changes nothing, but it is a write): a Redis that became read-only is a bypass from
//! the first look-up on, on every replica.

pub mod entry;
pub mod missed;
pub mod pages;
pub mod records;
mod script;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::{FromRedisValue, ParsingError, Value};
use prometheus::IntCounter;

use crate::{dependencies::redis::RedisError, metrics::Metrics};

/// Holds the present generation of pages.
const GENERATION: &str = "page-generation:v1";

/// Larger entries are not kept: two hundred records of 16 KiB would push a thousand small entries out. What is larger
/// than this under a key was not put there by this service.
const MAX_ENTRY: usize = 256 * 1024;

/// How long nothing is stored for a key whose true state is in doubt: everything that began before is over then. A
/// request lives for 300 ms, a statement for 150 ms in Postgres; a reader that began just before the statement's end
/// stores within its own 300 ms.
const HOLD: Duration = Duration::from_millis(800);

/// What became of an entry that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    Yes,
    /// A newer one was there.
    Superseded,
    /// It is too large to be kept.
    TooLarge,
    /// Redis does not take it.
    Refused,
    /// Redis did not answer.
    Failed,
}

/// Counts what became of entries.
#[derive(Debug)]
struct StoreCounters {
    stored: IntCounter,
    superseded: IntCounter,
    too_large: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
}

impl StoreCounters {
    fn new(metrics: &Metrics) -> Self {
        let writes = |result: &str| metrics.cache_writes.with_label_values(&[result]);
        Self {
            stored: writes("stored"),
            superseded: writes("superseded"),
            too_large: writes("too_large"),
            refused: writes("refused"),
            failed: writes("failed"),
        }
    }

    fn count(&self, stored: Stored) -> Stored {
        match stored {
            Stored::Yes => self.stored.inc(),
            Stored::Superseded => self.superseded.inc(),
            Stored::TooLarge => self.too_large.inc(),
            Stored::Refused => self.refused.inc(),
            Stored::Failed => self.failed.inc(),
        }
        stored
    }
}

impl From<RedisError> for Stored {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::ReadOnly | RedisError::Full => Self::Refused,
            RedisError::Away
            | RedisError::Timeout
            | RedisError::BreakerOpen
            | RedisError::Corrupt
            | RedisError::UnknownScript
            | RedisError::Error => Self::Failed,
        }
    }
}

/// The bytes of a reply, taken over without a copy; `None` when the key is not there.
struct Raw(Option<Vec<u8>>);

impl FromRedisValue for Raw {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        Ok(Self(match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        }))
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds since 1970. Replicas on several hosts need clocks that agree within a fraction of the fresh time.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    milliseconds(now)
}
