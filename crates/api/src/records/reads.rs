//! The read path: Redis, then on a miss Postgres, then store.
//!
//! # In the order of time
//! ## Look up
//! A fresh entry answers. Redis not answering is a bypass: counted, never an error to the client.
//! ## Fetch
//! One flight per key reads Postgres; whoever wants the same key meanwhile waits for it. The flight runs as a task of
//! its own, so a client that hangs up takes nothing away from the others.
//! ## Store
//! The flight stores what it read, guarded by the version. After a bypass it does not try: Redis has just failed.
//! ## Fall back
//! An old entry answers, with `detail=stale` and its `Age`: instead of an error when Postgres does not answer, and at
//! once for those who come while another renews it. The latter only shortly after it was fresh: an entry that nobody
//! asked for may be older than a write of which Redis did not hear, and that write would be seen by one and not by all.

use std::{pin::Pin, sync::Arc, time::Duration};

use prometheus::IntCounter;
use resilience::{
    deadline::{Deadline, DeadlineExceeded},
    single_flight::{Role, SingleFlight},
};
use tokio::time::Instant;

use super::sql;
use crate::{
    cache::{
        Cache, Stored,
        entry::{Entry, Kind, Stamp},
        key::Key,
    },
    config::CacheConfig,
    dependencies::postgres::{DatabaseError, Postgres},
    error::Error,
    http::{
        answer::{Answer, CacheStatus, Content, Forward, Provenance},
        freshness::Freshness,
    },
    metrics::Metrics,
};

/// For how long after its fresh time an entry is served to those who come while another renews it: the renewal of an
/// entry that is in demand begins with the end of that time, and takes as long as a request at most.
const LONGEST_RENEWAL: Duration = Duration::from_millis(300);

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Reads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Option<Cache>,
    source: Source,
    flights: Option<SingleFlight<Key, Fetched>>,
    stale_if_error: bool,
    results: [IntCounter; 5],
    collapsed: IntCounter,
}

/// Where the truth is, and where to put what was read of it.
#[derive(Debug, Clone)]
struct Source {
    postgres: Postgres,
    /// Makes entries also while `CACHE` is off: an entry is how a result looks.
    shape: Cache,
}

/// What a flight brought home.
#[derive(Debug, Clone)]
struct Fetched {
    entry: Result<Entry, DatabaseError>,
    stored: bool,
    database: Duration,
}

type Fetching<'a> = Pin<Box<dyn Future<Output = (Result<Entry, Error>, Provenance)> + Send + 'a>>;

/// Whether and under which stamp to store what is fetched.
#[derive(Debug, Clone, Copy)]
enum Store {
    No,
    Record,
    Page(Stamp),
}

impl Reads {
    /// The read path; `cache` is not asked when the configuration says so.
    pub fn new(cache: Cache, postgres: Postgres, config: &CacheConfig, metrics: &Metrics) -> Self {
        let results = ["hit", "stale", "miss", "refresh", "bypass"];
        Self(Arc::new(Inner {
            cache: config.enabled.then(|| cache.clone()),
            source: Source { postgres, shape: cache },
            flights: config.single_flight.then(SingleFlight::new),
            stale_if_error: config.stale_if_error,
            results: results.map(|result| metrics.cache_requests.with_label_values(&[result])),
            collapsed: metrics.collapsed_reads.with_label_values(&["single_flight"]),
        }))
    }

    /// One record, or 304 if it has a version in `known`.
    pub async fn record(
        &self,
        id: i64,
        known: impl Fn(u64) -> bool,
        _freshness: Freshness,
        deadline: Deadline,
    ) -> Answer {
        let (entry, provenance) = self.entry(Key::Record(id), deadline).await;
        let content = entry.and_then(|entry| match entry.kind() {
            Kind::Missing => Err(Error::NoRecord(id)),
            Kind::Record | Kind::Page => {
                let version = entry.stamp.version();
                let body = entry.body();
                Ok(if known(version) { Content::NotModified { version } } else { Content::Record { body, version } })
            }
        });
        Answer { content, provenance }
    }

    /// One page.
    pub async fn page(&self, after: i64, limit: u16, _freshness: Freshness, deadline: Deadline) -> Answer {
        let (entry, provenance) = self.entry(Key::Page { after, limit }, deadline).await;
        Answer { content: entry.map(|entry| Content::Page(entry.body())), provenance }
    }

    /// How many reads of Postgres are under way for more than one.
    pub fn flights(&self) -> usize {
        self.0.flights.as_ref().map_or(0, SingleFlight::len)
    }

    async fn entry(&self, key: Key, deadline: Deadline) -> (Result<Entry, Error>, Provenance) {
        let (result, provenance) = self.find_or_fetch(key, deadline).await;
        if let Some(cache) = provenance.cache {
            self.0.results[cache.result() as usize].inc();
        }
        (result, provenance)
    }

    async fn find_or_fetch(&self, key: Key, deadline: Deadline) -> (Result<Entry, Error>, Provenance) {
        let Some(cache) = &self.0.cache else {
            return self.fetch(key, Forward::Bypass("off"), Store::No, None, Provenance::default(), deadline).await;
        };
        let start = Instant::now();
        let found = cache.find(&key, deadline).await;
        let provenance = Provenance { redis: Some(start.elapsed()), ..Provenance::default() };
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                let why = Forward::Bypass(error.as_str());
                return self.fetch(key, why, Store::No, None, provenance, deadline).await;
            }
        };
        let store = match (key, found.generation) {
            (Key::Record(_), _) => Store::Record,
            (Key::Page { .. }, Some(generation)) => Store::Page(generation),
            (Key::Page { .. }, None) => Store::No,
        };
        match found.entry {
            None => self.fetch(key, Forward::Miss, store, None, provenance, deadline).await,
            Some(entry) => match entry.fresh_for() {
                Some(ttl) => (Ok(entry), Provenance { cache: Some(CacheStatus::Hit { ttl }), ..provenance }),
                None if self.is_being_renewed(&key, &entry) => stale(entry, provenance),
                None => self.fetch(key, Forward::Stale, store, Some(entry), provenance, deadline).await,
            },
        }
    }

    /// Somebody else is fetching this key: an entry that was fresh a moment ago is good enough for the others, and any
    /// while Postgres is known to be away. Not so for pages, whose old entries are known to be out of date.
    fn is_being_renewed(&self, key: &Key, entry: &Entry) -> bool {
        let inner = &self.0;
        entry.kind() != Kind::Page
            && (entry.old_for() <= LONGEST_RENEWAL
                || inner.stale_if_error && !inner.source.postgres.knowledge().is_up())
            && inner.flights.as_ref().is_some_and(|flights| flights.is_flying(key))
    }

    /// Everything that follows a look-up without a fresh entry. Boxed: the future of a hit, which is moved about for each
    /// request, must not carry the room that a read of Postgres needs.
    fn fetch<'a>(
        &'a self,
        key: Key,
        why: Forward,
        store: Store,
        old: Option<Entry>,
        provenance: Provenance,
        deadline: Deadline,
    ) -> Fetching<'a> {
        Box::pin(self.fetch_or_fall_back(key, why, store, old, provenance, deadline))
    }

    async fn fetch_or_fall_back(
        &self,
        key: Key,
        why: Forward,
        store: Store,
        old: Option<Entry>,
        provenance: Provenance,
        deadline: Deadline,
    ) -> (Result<Entry, Error>, Provenance) {
        let (collapsed, fetched) = match self.fly(key, store, deadline).await {
            Ok(flown) => flown,
            Err(error) => return self.fall_back(old, error, why, provenance),
        };
        let provenance = Provenance { database: Some(fetched.database), ..provenance };
        match fetched.entry {
            Ok(entry) => {
                let cache = Some(CacheStatus::Forward { why, stored: fetched.stored, collapsed });
                (Ok(entry), Provenance { cache, ..provenance })
            }
            Err(error) => self.fall_back(old, error.into(), why, provenance),
        }
    }

    fn fall_back(
        &self,
        old: Option<Entry>,
        error: Error,
        why: Forward,
        provenance: Provenance,
    ) -> (Result<Entry, Error>, Provenance) {
        match old {
            Some(entry) if self.0.stale_if_error => stale(entry, provenance),
            _ => {
                let cache = Some(CacheStatus::Forward { why, stored: false, collapsed: false });
                (Err(error), Provenance { cache, ..provenance })
            }
        }
    }

    /// Reads Postgres, alone or together with others who want the same.
    async fn fly(&self, key: Key, store: Store, deadline: Deadline) -> Result<(bool, Fetched), Error> {
        let source = self.0.source.clone();
        let fetch = move || async move { source.fetch(key, store, deadline).await };
        let Some(flights) = &self.0.flights else {
            return Ok((false, fetch().await));
        };
        // A follower's own deadline may be earlier than that of the flight.
        let landed = match deadline.remaining(Instant::now()) {
            Some(left) => tokio::time::timeout(left, flights.run(key, fetch)).await.map_err(|_| DeadlineExceeded)?,
            None => flights.run(key, fetch).await,
        };
        let (role, fetched) = landed;
        if role == Role::Follower {
            self.0.collapsed.inc();
        }
        Ok((role == Role::Follower, fetched.map_err(|_| Error::Internal)?))
    }
}

fn stale(entry: Entry, provenance: Provenance) -> (Result<Entry, Error>, Provenance) {
    let cache = Some(CacheStatus::Stale { age: entry.age() });
    (Ok(entry), Provenance { cache, ..provenance })
}

impl Source {
    async fn fetch(self, key: Key, store: Store, deadline: Deadline) -> Fetched {
        let start = Instant::now();
        let entry = match key {
            Key::Record(id) => self.fetch_record(id, deadline).await,
            Key::Page { after, limit } => self.fetch_page(after, limit, store, deadline).await,
        };
        let database = start.elapsed();
        let stored = match (&entry, store) {
            (Ok(entry), Store::Record | Store::Page(_)) => self.shape.store(&key, entry, deadline).await == Stored::Yes,
            (Ok(_), Store::No) | (Err(_), _) => false,
        };
        Fetched { entry, stored, database }
    }

    async fn fetch_record(&self, id: i64, deadline: Deadline) -> Result<Entry, DatabaseError> {
        let record = self.postgres.run(deadline, move |connection| Box::pin(sql::get(connection, id))).await?;
        Ok(match record {
            Some(record) => self.shape.record_entry(record.version, &record.to_json()),
            None => self.shape.missing_entry(),
        })
    }

    async fn fetch_page(
        &self,
        after: i64,
        limit: u16,
        store: Store,
        deadline: Deadline,
    ) -> Result<Entry, DatabaseError> {
        let page = self.postgres.run(deadline, move |connection| Box::pin(sql::page(connection, after, limit))).await?;
        let generation = match store {
            Store::Page(generation) => generation,
            Store::No | Store::Record => Stamp::of_version(0),
        };
        Ok(self.shape.page_entry(generation, &page.to_json()))
    }
}
