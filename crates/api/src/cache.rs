//! Cache-aside in Redis: two caches with one rule each, and what they share.
//!
//! [`records`]: an entry has the version of its record, and a write never replaces a newer version by an older one.
//! [`pages`]: a page has the *generation* under which it was read, and every write of a record starts a new one.
//! [`missed`]: the writes that Redis missed, until it is updated.
//! [`near`]: records in this process, kept up to date by Redis' reports of changes.
//!
//! An entry is valid only while Redis could have replaced it. So look-ups use commands that Redis refuses whenever it
//! refuses writes (`GETEX` changes nothing, but Redis treats it as a write). When Redis becomes read-only, every
//! look-up on every replica is a bypass from then on.

pub mod entry;
pub mod missed;
pub mod near;
pub mod pages;
pub mod records;
mod script;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use deadpool_redis::redis::{FromRedisValue, ParsingError, Value};
use prometheus::IntCounter;

use crate::{dependencies::redis::RedisError, metrics::Metrics};

/// The key of the current generation of pages.
const GENERATION: &str = "page-generation:v1";

/// Larger entries are not stored: two hundred records of 16 KiB would evict a thousand small entries. A larger value
/// under a key was not stored by this service.
const MAX_ENTRY: usize = 256 * 1024;

/// How long nothing is stored for a key whose state is in doubt. After this time everything that began before has
/// ended: a request takes at most 300 ms, and a statement 150 ms in Postgres. A reader that began just before the end
/// of the statement stores within its own 300 ms.
const HOLD: Duration = Duration::from_millis(800);

/// The result of storing an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Yes,
    /// Redis holds a newer one.
    Superseded,
    /// It is too large to be stored.
    TooLarge,
    /// Redis refuses to store it.
    Refused,
    /// Redis did not answer.
    Failed,
}

/// Counts the results of storing entries.
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

/// The bytes of a reply, without a copy; `None` when the key does not exist.
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
