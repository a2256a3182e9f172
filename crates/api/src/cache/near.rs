//! The near cache (`NEAR_CACHE`): entries of records in this process. Redis reports which records have changed.
//!
//! # In the order of time
//! ## Look up
//! An entry is served if it is fresh and Redis has answered a heartbeat within [`LEASE`]. Otherwise the look-up goes on
//! to Redis.
//! ## Insert
//! The look-up in Redis inserts the entry it found. [`map`] refuses the insertion if the record has changed since the
//! look-up began.
//! ## Changed
//! Redis reports each changed key over a separate connection ([`tracking`](crate::dependencies::redis::tracking)). A
//! write of this replica removes the entry itself, before the write is answered.
//! ## Heartbeat
//! A heartbeat on the same connection is answered: every change before it was sent has been reported. [`lease`] is
//! extended from the time at which the heartbeat was *sent*.
//! ## Lost
//! The connection ended, or a heartbeat was not answered: every entry is removed. The next connection begins with an
//! empty cache.
//!
//! As a result, an answer from this cache is one that Redis could have given at most [`LEASE`] before the read began.
//! On one replica, reads never go back in time, and they see every write that this replica has answered.
//!
//! Pages are not kept here, because every write of a record invalidates all of them. They are read from Redis.

use std::{sync::Arc, time::Duration};

use prometheus::{IntCounter, IntGauge};
use tokio::time::Instant;

mod lease;
mod map;

pub(super) use self::map::Ticket;
use self::{
    lease::Lease,
    map::{Inserted, NearMap},
};
use super::entry::{Entry, Stamp};
use crate::{config::NearCacheConfig, dependencies::redis::tracking::ChangeListener, metrics::Metrics};

/// How long entries are served after a heartbeat was sent. The documented bound is twice as long.
pub const LEASE: Duration = Duration::from_millis(100);

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct NearCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    map: NearMap,
    lease: Lease,
    /// The prefix of the keys of records; the id follows.
    prefix: &'static str,
    listening: IntGauge,
    invalidations: IntCounter,
    drops: Drops,
}

/// Entries that were removed or not inserted, by reason. The map counts the entries that the limit evicts.
#[derive(Debug)]
struct Drops {
    changed: IntCounter,
    written: IntCounter,
    flushed: IntCounter,
    lost: IntCounter,
    overtaken: IntCounter,
    too_large: IntCounter,
}

impl NearCache {
    /// An empty cache that serves nothing until Redis answers a heartbeat.
    pub(super) fn new(config: &NearCacheConfig, prefix: &'static str, metrics: &Metrics) -> Self {
        let drops = |reason: &str| metrics.near_cache_drops.with_label_values(&[reason]);
        Self(Arc::new(Inner {
            map: NearMap::new(config.bytes, drops("evicted")),
            lease: Lease::new(Instant::now()),
            prefix,
            listening: metrics.near_cache_listening.clone(),
            invalidations: metrics.near_cache_invalidations.clone(),
            drops: Drops {
                changed: drops("changed"),
                written: drops("written"),
                flushed: drops("flushed"),
                lost: drops("lost"),
                overtaken: drops("overtaken"),
                too_large: drops("too_large"),
            },
        }))
    }

    /// The entry of `id` and its remaining fresh time in seconds, if it may be served.
    pub(super) fn find(&self, id: i64) -> Option<(Entry, u64)> {
        // The lease is checked first: changes reported before its heartbeat have been removed from the map by then.
        if !self.0.lease.holds(Instant::now()) {
            return None;
        }
        let entry = self.0.map.get(id)?;
        let ttl = entry.fresh_for()?;
        Some((entry, ttl))
    }

    /// Begins a look-up in Redis. `None`: another look-up will insert, or Redis does not report changes now.
    pub(super) fn begin(&self, id: i64) -> Option<Ticket<'_>> {
        if self.0.lease.is_listening() { self.0.map.begin(id) } else { None }
    }

    /// Inserts the entry that the look-up in Redis has found.
    pub(super) fn insert(&self, ticket: Option<Ticket<'_>>, id: i64, entry: &Entry) {
        match ticket {
            Some(ticket) if entry.fresh_for().is_some() => match ticket.insert(entry.clone()) {
                Inserted::Yes => {}
                Inserted::Overtaken => self.0.drops.overtaken.inc(),
                Inserted::TooLarge => self.0.drops.too_large.inc(),
            },
            Some(_) | None => self.saw(id, entry.stamp),
        }
    }

    /// This replica is about to answer with an entry from elsewhere. From now on it serves no older one.
    pub(super) fn saw(&self, id: i64, stamp: Stamp) {
        if self.0.map.saw(id, stamp) {
            self.0.drops.changed.inc();
        }
    }

    /// This replica has written `id`, or may have. Look-ups that began earlier insert nothing.
    pub(super) fn wrote(&self, id: i64) {
        if self.0.map.remove(id) {
            self.0.drops.written.inc();
        }
    }

    /// The number of entries, and the bytes that they take.
    pub fn size(&self) -> (usize, u64) {
        self.0.map.size()
    }

    /// Removes everything that is known so far.
    fn drop_all(&self, reason: &IntCounter) {
        reason.inc_by(self.0.map.clear());
    }
}

impl ChangeListener for NearCache {
    fn connected(&self) {
        // No change was reported until now.
        self.drop_all(&self.0.drops.lost);
        self.0.lease.listen();
        self.0.listening.set(1);
    }

    fn changed(&self, key: &[u8]) {
        let id = key.strip_prefix(self.0.prefix.as_bytes());
        let Some(id) = id.and_then(|id| str::from_utf8(id).ok()?.parse().ok()) else {
            return;
        };
        self.0.invalidations.inc();
        if self.0.map.remove(id) {
            self.0.drops.changed.inc();
        }
    }

    fn flushed(&self) {
        self.0.invalidations.inc();
        self.drop_all(&self.0.drops.flushed);
    }

    fn heard(&self, sent: Instant) {
        self.0.lease.extend(sent);
    }

    fn lost(&self) {
        self.0.lease.end();
        self.0.listening.set(0);
        self.drop_all(&self.0.drops.lost);
    }
}
