//! Cache-aside in Redis: what an entry looks like, which keys there are, and the one script that writes.
//!
//! The rule that makes it trustworthy: an entry carries the version of its record, and no write ever puts an older
//! version over a newer one. Pages have no version; they carry the *generation* under which they were read, and every
//! write of a record starts a new generation.

pub mod entry;
pub mod key;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use deadpool_redis::redis::{Cmd, FromRedisValue, ParsingError, Script, Value};
use prometheus::IntCounter;
use resilience::deadline::Deadline;

use self::{
    entry::{Entry, Kind, Stamp},
    key::{GENERATION, Key},
};
use crate::{
    config::CacheConfig,
    dependencies::redis::{Redis, RedisError},
    metrics::Metrics,
};

/// Larger pages are not kept: two hundred records of 16 KiB would push a thousand small entries out.
const MAX_ENTRY: usize = 256 * 1024;

/// Writes an entry unless a newer one is there, and starts a new generation of pages if one is given.
/// KEYS: entry, [generation]; ARGV: version, entry, milliseconds to keep, [generation, milliseconds to keep].
const STORE: &str = include_str!("cache/store.lua");

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    fresh: Duration,
    keep: Duration,
    missing: Duration,
    /// By which Redis knows the script after its first call.
    script_hash: String,
    writes: Writes,
}

#[derive(Debug)]
struct Writes {
    stored: IntCounter,
    superseded: IntCounter,
    failed: IntCounter,
}

/// What a look-up found.
#[derive(Debug)]
pub struct Found {
    /// The entry, if there is a usable one.
    pub entry: Option<Entry>,
    /// With which stamp an entry read from Postgres *after* this look-up may be stored. `None`: do not store it.
    pub generation: Option<Stamp>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// It is there.
    Yes,
    /// A newer one was there, or the entry is too large.
    No,
    /// Redis did not answer.
    Failed,
}

impl Cache {
    /// A cache over `redis`.
    pub fn new(redis: Redis, config: &CacheConfig, metrics: &Metrics) -> Self {
        let writes = |result: &str| metrics.cache_writes.with_label_values(&[result]);
        Self(Arc::new(Inner {
            redis,
            fresh: config.fresh,
            keep: config.keep,
            missing: config.missing,
            script_hash: Script::new(STORE).get_hash().to_owned(),
            writes: Writes { stored: writes("stored"), superseded: writes("superseded"), failed: writes("failed") },
        }))
    }

    /// Looks a key up.
    ///
    /// # Errors
    /// Redis did not answer: a bypass, never "not found".
    pub async fn find(&self, key: &Key, deadline: Deadline) -> Result<Found, RedisError> {
        match key {
            Key::Record(_) => self.find_record(key, deadline).await,
            Key::Page { .. } => Box::pin(self.find_page(key, deadline)).await,
        }
    }

    async fn find_record(&self, key: &Key, deadline: Deadline) -> Result<Found, RedisError> {
        let mut get = Cmd::with_capacity(2, 32);
        get.arg("GET").arg(key.name());
        let raw: Raw = self.0.redis.call(deadline, &get).await?;
        Ok(Found { entry: raw.0.and_then(Entry::decode), generation: None })
    }

    /// A page is good as long as the generation under which it was read is the present one.
    async fn find_page(&self, key: &Key, deadline: Deadline) -> Result<Found, RedisError> {
        let mut get = Cmd::new();
        get.arg("MGET").arg(GENERATION).arg(key.name());
        let (generation, raw): (Raw, Raw) = self.0.redis.call(deadline, &get).await?;
        let generation = generation.0.as_deref().and_then(Stamp::decode);
        let mut entry = raw.0.and_then(Entry::decode);
        if let (Some(entry), Some(generation)) = (&mut entry, generation)
            && entry.stamp != generation
        {
            // Read before the last write: good for nothing but the time when Postgres is away.
            entry.expire();
        }
        if generation.is_none() {
            // Nobody has written since Redis started. The first generation begins now, for the next look-up.
            entry = None;
            let mut begin = Cmd::new();
            begin.arg("SET").arg(GENERATION).arg(Stamp::random().to_string()).arg("NX").arg("PX").arg(self.0.keep_ms());
            let _: Value = self.0.redis.call(deadline, &begin).await?;
        }
        Ok(Found { entry, generation })
    }

    /// An entry for a record as read from Postgres now.
    pub fn record_entry(&self, version: i64, body: &[u8]) -> Entry {
        Entry::new(Kind::Record, Stamp::of_version(version), now_ms(), self.0.fresh, body)
    }

    /// An entry for an id that Postgres does not know.
    pub fn missing_entry(&self) -> Entry {
        Entry::new(Kind::Missing, Stamp::of_version(0), now_ms(), self.0.missing, b"")
    }

    /// An entry for a record that was deleted at `version`. It outlives every read that began before the deletion.
    pub fn deleted_entry(&self, version: i64) -> Entry {
        Entry::new(Kind::Missing, Stamp::of_version(version + 1), now_ms(), self.0.fresh, b"")
    }

    /// An entry for a page that was read under `generation`.
    pub fn page_entry(&self, generation: Stamp, body: &[u8]) -> Entry {
        Entry::new(Kind::Page, generation, now_ms(), self.0.fresh, body)
    }

    /// Stores what was read from Postgres.
    pub async fn store(&self, key: &Key, entry: &Entry, deadline: Deadline) -> Stored {
        let stored = match key {
            Key::Record(_) => self.run_script(key, entry, None, deadline).await,
            Key::Page { .. } => self.set_page(key, entry, deadline).await,
        };
        self.count(stored)
    }

    /// Stores what was written to Postgres, and ends the present generation of pages.
    pub async fn store_written(&self, key: &Key, entry: &Entry, deadline: Deadline) -> Stored {
        let stored = self.run_script(key, entry, Some(Stamp::random()), deadline).await;
        self.count(stored)
    }

    async fn set_page(&self, key: &Key, entry: &Entry, deadline: Deadline) -> Result<bool, RedisError> {
        if entry.body().len() > MAX_ENTRY {
            return Ok(false);
        }
        let mut set = Cmd::new();
        set.arg("SET").arg(key.name()).arg(entry.encoded()).arg("PX").arg(self.0.keep_ms());
        let _: Value = self.0.redis.call(deadline, &set).await?;
        Ok(true)
    }

    async fn run_script(
        &self,
        key: &Key,
        entry: &Entry,
        generation: Option<Stamp>,
        deadline: Deadline,
    ) -> Result<bool, RedisError> {
        let call = |verb: &str, script: &str| {
            let mut command = Cmd::new();
            command.arg(verb).arg(script).arg(1 + usize::from(generation.is_some())).arg(key.name());
            if generation.is_some() {
                command.arg(GENERATION);
            }
            let keep = if entry.kind() == Kind::Missing { entry.lifetime_ms() } else { self.0.keep_ms() };
            command.arg(entry.stamp.to_string()).arg(entry.encoded()).arg(keep);
            if let Some(generation) = generation {
                command.arg(generation.to_string()).arg(self.0.keep_ms());
            }
            command
        };
        match self.0.redis.call(deadline, &call("EVALSHA", &self.0.script_hash)).await {
            // Redis was restarted, or sees this script for the first time.
            Err(RedisError::UnknownScript) => self.0.redis.call(deadline, &call("EVAL", STORE)).await,
            stored => stored,
        }
    }

    fn count(&self, stored: Result<bool, RedisError>) -> Stored {
        let writes = &self.0.writes;
        match stored {
            Ok(true) => {
                writes.stored.inc();
                Stored::Yes
            }
            Ok(false) => {
                writes.superseded.inc();
                Stored::No
            }
            Err(_) => {
                writes.failed.inc();
                Stored::Failed
            }
        }
    }
}

impl Inner {
    fn keep_ms(&self) -> u64 {
        u64::try_from(self.keep.as_millis()).unwrap_or(u64::MAX)
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

/// Milliseconds since 1970. Replicas on several hosts need clocks that agree within a fraction of the fresh time.
pub fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
