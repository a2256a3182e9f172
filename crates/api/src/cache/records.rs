//! The cache of records, ordered by version.
//!
//! # In the order of time
//! ## Look up
//! An entry is served while it is fresh. The look-up returns its stamp: a record that is read from Postgres after the
//! look-up is at least as new as that stamp.
//! ## Store
//! A script compares and sets in Redis. It never replaces a newer version by an older one, unless the look-up before
//! the read had seen the newer one (then Postgres was restored to an earlier state, or the entry is wrong). An id that
//! does not exist in Postgres is stored as missing. If the look-up had seen a record, the record is deleted
//! permanently, because ids are not reused, and the new entry is newer than all entries before.
//! ## After a write
//! One script stores the new entry and starts a new generation of pages. If Redis refuses to store, the entry is
//! deleted. If Redis refuses that too, or does not answer, the id is added to the [missed](super::missed) writes.
//! ## In doubt
//! A write that may or may not have taken effect puts its key on hold: the entry is removed, and none is stored for a
//! short time.

use std::{sync::Arc, time::Duration};

use deadpool_redis::redis::{Cmd, Value};
use resilience::deadline::Deadline;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    GENERATION, HOLD, MAX_ENTRY, Raw, StoreCounters, Stored,
    entry::{Entry, Kind, Stamp},
    milliseconds,
    missed::MissedWrites,
    near::NearCache,
    now_ms,
    script::CacheScript,
};
use crate::{
    config::CacheConfig,
    dependencies::redis::{Redis, RedisError},
    metrics::Metrics,
    records::model::Record,
    short_text::ShortText,
};

/// The prefix of a record's key; the id follows. It contains the type and a format version. A new entry format gets a
/// new `v`, so that old and new replicas can run side by side.
const PREFIX: &str = "record:v1:";

/// No record has this id.
const NO_ID: i64 = 0;

const STORE: &str = concat!(include_str!("generation.lua"), include_str!("store_record.lua"));

/// The most time-outs that the update after a commit may take when this process stalls: Redis works, and would miss the
/// write only because of the stall.
const STALL_ALLOWANCE: u32 = 3;

/// The time limit of one repair. Repairs run in the background, so it is longer than that of a request.
const REPAIR_TIMEOUT: Duration = Duration::from_millis(250);

/// The prober waits for the repairs at most this long. Then it probes again and continues the repairs.
const REPAIR_TURN: Duration = Duration::from_millis(200);

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct RecordCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    redis: Redis,
    fresh: Duration,
    keep: Duration,
    missing: Duration,
    store: CacheScript,
    missed: MissedWrites,
    near: Option<NearCache>,
    counters: StoreCounters,
    /// The time-out for updating the cache after a commit, independent of the request's deadline.
    update_timeout: Option<Duration>,
}

/// What a look-up found.
#[derive(Debug, Default)]
pub struct Found {
    /// The entry, if there is a usable one.
    pub entry: Option<Entry>,
    /// The stamp of the value under the key.
    pub seen: Option<Stamp>,
    /// The value under the key is not an entry of this id.
    pub corrupt: bool,
}

/// Why the cache does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bypass {
    /// Redis did not answer, or may be out of date.
    Redis(RedisError),
    /// Redis missed the last write of this record.
    MissedWrite,
    /// Redis has just recovered: other replicas may still have to repair entries.
    Settling,
}

impl Bypass {
    /// The word for `Cache-Status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis(error) => error.as_str(),
            Self::MissedWrite => "missed_write",
            Self::Settling => "settling",
        }
    }
}

impl RecordCache {
    /// A cache over `redis`.
    pub fn new(redis: Redis, config: &CacheConfig, update_timeout: Option<Duration>, metrics: &Metrics) -> Self {
        Self(Arc::new(Inner {
            redis,
            fresh: config.fresh,
            keep: config.keep,
            missing: config.missing,
            store: CacheScript::new(STORE),
            missed: MissedWrites::new(metrics),
            near: config.near.as_ref().map(|near| NearCache::new(near, PREFIX, metrics)),
            counters: StoreCounters::new(metrics),
            update_timeout,
        }))
    }

    /// Looks up an id in this process. Returns a fresh entry and its remaining fresh time in seconds.
    pub fn find_near(&self, id: i64) -> Option<(Entry, u64)> {
        let near = self.0.near.as_ref()?;
        // The same conditions as for an entry in Redis apply.
        if self.0.missed.concerns(id) || !self.0.redis.is_settled() {
            return None;
        }
        near.find(id)
    }

    /// Looks up an id in Redis. `now` is the current time.
    ///
    /// # Errors
    /// The cache cannot answer: a bypass, never "not found".
    pub async fn find(&self, id: i64, now: Instant, deadline: Deadline) -> Result<Found, Bypass> {
        if self.0.missed.concerns(id) {
            return Err(Bypass::MissedWrite);
        }
        let ticket = self.0.near.as_ref().and_then(|near| near.begin(id));
        match self.0.redis.call_at(now, deadline, &look_up(id)).await {
            Ok(Raw(_)) if !self.0.redis.is_settled() => Err(Bypass::Settling),
            Ok(Raw(None)) => Ok(Found::default()),
            Ok(Raw(Some(bytes))) => {
                let found = self.decode(bytes, id);
                if let (Some(near), Some(entry)) = (&self.0.near, &found.entry) {
                    near.insert(ticket, id, entry);
                }
                Ok(found)
            }
            Err(RedisError::Corrupt) => Ok(Found { corrupt: true, ..Found::default() }),
            Err(error) => Err(Bypass::Redis(error)),
        }
    }

    fn decode(&self, bytes: Vec<u8>, id: i64) -> Found {
        let stamp = bytes.first_chunk::<20>().copied();
        let entry = if bytes.len() > MAX_ENTRY { None } else { Entry::decode_record(bytes, id).ok() };
        match entry {
            None => Found { entry: None, seen: stamp.and_then(|stamp| Stamp::decode(&stamp)), corrupt: true },
            Some(entry) if entry.kind() == Kind::Hold => Found::default(),
            Some(mut entry) => {
                let longest = self.0.fresh.max(self.0.missing);
                entry.limit_freshness(longest);
                Found { seen: Some(entry.stamp), entry: Some(entry), corrupt: false }
            }
        }
    }

    /// An entry for a record that was read from Postgres, or `None` if it cannot be serialized.
    pub fn record_entry(&self, record: &Record) -> Option<Entry> {
        let body = record.to_json()?;
        Some(Entry::new(Kind::Record, Stamp::of_version(record.version), now_ms(), self.0.fresh, &body))
    }

    /// An entry for an id that does not exist in Postgres, after a look-up that saw `seen`.
    pub fn missing_entry(&self, id: i64, seen: Option<Stamp>) -> Entry {
        let body = id.to_string();
        match seen {
            None | Some(Stamp::NONE) => {
                Entry::new(Kind::Missing, Stamp::NONE, now_ms(), self.0.missing, body.as_bytes())
            }
            // The record existed: it is deleted permanently, and this entry is newer than the one that was seen.
            Some(seen) => Entry::new(Kind::Missing, seen.next(), now_ms(), self.0.fresh, body.as_bytes()),
        }
    }

    /// An entry was read from Postgres and is about to be the answer.
    pub fn saw(&self, id: i64, entry: &Entry) {
        if let Some(near) = &self.0.near {
            near.saw(id, entry.stamp);
        }
    }

    /// Stores an entry that was read from Postgres after a look-up that saw `seen`.
    pub async fn store(&self, id: i64, entry: &Entry, seen: Option<Stamp>, deadline: Deadline) -> Stored {
        let stored = self.run_script(id, entry, seen, false, deadline).await;
        self.0.counters.count(stored)
    }

    /// Stores the new entry of a written record, and starts a new generation of pages.
    pub async fn wrote(&self, id: i64, record: &Record) {
        match self.record_entry(record) {
            Some(entry) => self.update(id, &entry).await,
            None => self.in_doubt(id).await,
        }
    }

    /// Records in the cache that a record was deleted at `version`. The entry lives longer than every read that began
    /// before.
    pub async fn deleted(&self, id: i64, version: i64) {
        let body = id.to_string();
        let stamp = Stamp::of_version(version).next();
        let entry = Entry::new(Kind::Missing, stamp, now_ms(), self.0.fresh, body.as_bytes());
        self.update(id, &entry).await;
    }

    /// Puts an id on hold, because a write of it may or may not have taken effect.
    pub async fn in_doubt(&self, id: i64) {
        self.update(id, &hold()).await;
    }

    /// Replaces an entry that may be older than `record`, the state in Postgres.
    pub async fn repair(&self, id: i64, record: &Record) {
        if let Some(entry) = self.record_entry(record) {
            let stored = self.run_script(id, &entry, None, false, self.update_deadline()).await;
            self.0.counters.count(stored);
        }
    }

    /// Keeps the near cache up to date until `stop`. Returns at once if there is none.
    pub async fn keep_near(self, stop: CancellationToken) {
        if let Some(near) = self.0.near.clone() {
            self.0.redis.clone().track(PREFIX, look_up(NO_ID), near, stop).await;
        }
    }

    /// The number of entries in the near cache, and the bytes that they take.
    pub fn near_size(&self) -> (usize, u64) {
        self.0.near.as_ref().map_or((0, 0), NearCache::size)
    }

    /// Whether a write is waiting to be repaired.
    pub fn has_missed_writes(&self) -> bool {
        self.0.missed.any()
    }

    /// Repairs the entries of the writes that Redis missed. Called when Redis takes writes.
    pub async fn repair_missed(&self) {
        let mut repaired = Vec::new();
        let start = Instant::now();
        for (id, miss) in self.0.missed.all() {
            if start.elapsed() > REPAIR_TURN {
                self.0.redis.knowledge().suspect();
                break;
            }
            let deadline = Deadline::after(Instant::now(), Some(REPAIR_TIMEOUT));
            if self.run_script(id, &hold(), None, true, deadline).await != Stored::Yes {
                break;
            }
            repaired.push((id, miss));
        }
        if !repaired.is_empty() {
            tracing::info!(entries = repaired.len(), "cache entries repaired after writes that Redis missed");
            self.0.missed.repaired(&repaired);
        }
    }

    async fn update(&self, id: i64, entry: &Entry) {
        let deadline = self.update_deadline();
        let stored = self.run_script(id, entry, None, true, deadline).await;
        match self.0.counters.count(stored) {
            Stored::Yes | Stored::Superseded => {}
            // Redis may still delete the entry, which is sufficient.
            Stored::Refused if self.delete(id, deadline).await => {}
            Stored::Refused | Stored::Failed | Stored::TooLarge => {
                self.0.missed.add(id);
                // Other replicas serve the old entry until the repair, which follows the next probe; so that is requested
                // now. While Redis is down it would find nothing new.
                if self.0.redis.knowledge().is_up() {
                    self.0.redis.knowledge().suspect();
                }
            }
        }
    }

    async fn delete(&self, id: i64, deadline: Deadline) -> bool {
        let mut delete = Cmd::new();
        delete.arg("DEL").arg(key(id).as_str()).arg(GENERATION);
        let deleted = self.0.redis.call::<Value>(deadline, &delete).await.is_ok();
        self.changed_here(id);
        deleted
    }

    async fn run_script(
        &self,
        id: i64,
        entry: &Entry,
        seen: Option<Stamp>,
        ends_pages: bool,
        deadline: Deadline,
    ) -> Stored {
        let keep = match entry.kind() {
            Kind::Missing | Kind::Hold => entry.lifetime_ms(),
            Kind::Record | Kind::Page => milliseconds(self.0.keep),
        };
        let stored = self.0.store.run::<u8>(&self.0.redis, deadline, |command| {
            command.arg(1 + usize::from(ends_pages)).arg(key(id).as_str());
            if ends_pages {
                command.arg(GENERATION);
            }
            command.arg(entry.stamp.to_string()).arg(entry.encoded()).arg(keep);
            command.arg(seen.map(|seen| seen.to_string()).unwrap_or_default());
            if ends_pages {
                command.arg(milliseconds(self.0.keep));
            }
        });
        let stored = stored.await;
        self.changed_here(id);
        match stored {
            Ok(1) => Stored::Yes,
            Ok(_) => Stored::Superseded,
            Err(error) => error.into(),
        }
    }

    /// Called after each command that changes an entry, before its result is used, because Redis' own report may arrive
    /// later.
    fn changed_here(&self, id: i64) {
        if let Some(near) = &self.0.near {
            near.wrote(id);
        }
    }

    /// Redis gets its time-out, which is the same; only a stall of this process extends it ([`Redis::call`]).
    fn update_deadline(&self) -> Deadline {
        Deadline::after(Instant::now(), self.0.update_timeout.map(|timeout| timeout * (1 + STALL_ALLOWANCE)))
    }
}

fn hold() -> Entry {
    Entry::new(Kind::Hold, Stamp::HOLD, now_ms(), HOLD, b"")
}

/// The command that reads an entry. It is not GET; the documentation of the parent module says why.
fn look_up(id: i64) -> Cmd {
    let mut command = Cmd::with_capacity(2, 40);
    command.arg("GETEX").arg(key(id).as_str());
    command
}

/// Ids are not negative.
fn key(id: i64) -> ShortText {
    ShortText::new().text(PREFIX).number(id.unsigned_abs())
}
