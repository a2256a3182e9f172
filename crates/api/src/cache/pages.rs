//! The cache of pages, ordered by generation: a page is valid while the generation under which it was read is the
//! current one.
//!
//! # In the order of time
//! ## Look up
//! One script reads the current generation and the page. A page of an earlier generation was read before the last
//! write, and is served only while Postgres is unavailable.
//! ## Store
//! A page is stored under the generation that was current *before* the page was read from Postgres.
//! ## After a write
//! [`records`](super::records) starts a new generation.

use std::{sync::Arc, time::Duration};

use deadpool_redis::redis::{Cmd, Value};
use resilience::deadline::Deadline;

use super::{
    GENERATION, MAX_ENTRY, Raw, StoreCounters, Stored,
    entry::{Entry, Kind, Stamp},
    milliseconds, now_ms,
    records::Bypass,
    script::CacheScript,
};
use crate::{
    config::CacheConfig,
    dependencies::redis::{Redis, RedisError},
    metrics::Metrics,
};

const FIND: &str = concat!(include_str!("generation.lua"), include_str!("find_page.lua"));

/// The page of at most `limit` records after the id `after`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageKey {
    /// The last id before the page.
    pub after: i64,
    /// Records per page.
    pub limit: u16,
}

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct PageCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    fresh: Duration,
    keep: Duration,
    find: CacheScript,
    counters: StoreCounters,
}

/// What a look-up found.
#[derive(Debug)]
pub struct Found {
    /// The page, if there is a usable one.
    pub entry: Option<Entry>,
    /// The current generation. A page that is read from Postgres after this look-up may be stored under it.
    pub generation: Stamp,
    /// The value under the key is not a page.
    pub corrupt: bool,
}

impl Found {
    /// The page and its remaining fresh time in seconds, if it is fresh and nothing was written since it was read.
    pub fn fresh(&self) -> Option<(&Entry, u64)> {
        let entry = self.entry.as_ref().filter(|entry| entry.stamp == self.generation)?;
        Some((entry, entry.fresh_for()?))
    }
}

impl PageCache {
    /// A cache over `redis`.
    pub fn new(redis: Redis, config: &CacheConfig, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            redis,
            fresh: config.fresh,
            keep: config.keep,
            find: CacheScript::new(FIND),
            counters: StoreCounters::new(metrics),
        }))
    }

    /// Looks up a page.
    ///
    /// # Errors
    /// The cache cannot answer: a bypass.
    pub async fn find(&self, page: PageKey, deadline: Deadline) -> Result<Found, Bypass> {
        let find = self.0.find.run(&self.0.redis, deadline, |command| {
            command.arg(2).arg(GENERATION).arg(page.name()).arg(milliseconds(self.0.keep));
        });
        let (generation, raw): (Raw, Raw) = find.await.map_err(Bypass::Redis)?;
        if !self.0.redis.is_settled() {
            return Err(Bypass::Settling);
        }
        let generation = generation.0.as_deref().and_then(Stamp::decode).ok_or(Bypass::Redis(RedisError::Error))?;
        let Some(bytes) = raw.0 else {
            return Ok(Found { entry: None, generation, corrupt: false });
        };
        let entry = if bytes.len() > MAX_ENTRY { None } else { Entry::decode_page(bytes).ok() };
        let corrupt = entry.is_none();
        let entry = entry.map(|mut entry| {
            entry.limit_freshness(self.0.fresh);
            entry
        });
        Ok(Found { entry, generation, corrupt })
    }

    /// An entry for a page that was read under `generation`.
    pub fn entry(&self, generation: Stamp, body: &[u8]) -> Entry {
        Entry::new(Kind::Page, generation, now_ms(), self.0.fresh, body)
    }

    /// Stores a page that was read from Postgres.
    pub async fn store(&self, page: PageKey, entry: &Entry, deadline: Deadline) -> Stored {
        self.0.counters.count(self.set(page, entry, deadline).await)
    }

    async fn set(&self, page: PageKey, entry: &Entry, deadline: Deadline) -> Stored {
        if entry.encoded().len() > MAX_ENTRY {
            return Stored::TooLarge;
        }
        let mut set = Cmd::new();
        set.arg("SET").arg(page.name()).arg(entry.encoded()).arg("PX").arg(milliseconds(self.0.keep));
        match self.0.redis.call::<Value>(deadline, &set).await {
            Ok(_) => Stored::Yes,
            Err(error) => error.into(),
        }
    }
}

impl PageKey {
    fn name(self) -> String {
        format!("page:v1:{}:{}", self.after, self.limit)
    }
}
