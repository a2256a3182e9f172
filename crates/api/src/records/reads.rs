//! The read path: look up in Redis; on a miss read from Postgres and store the result.
//!
//! # In the order of time
//! ## Look up
//! A fresh entry is the answer; the near cache is asked first if it is on. If the cache cannot answer, the read is a
//! bypass: it is counted, and the client never gets an error for it.
//! ## Fetch
//! One [flight](super::flights) per key reads Postgres. Other requests for the same key wait for its result.
//! ## Store
//! The flight stores its result. After a bypass it does not, because Redis has just failed.
//! ## Fall back
//! An old entry is served with `detail=stale` and its `Age` in two cases: when Postgres does not answer, and while
//! another request renews the entry. The second case is limited to a short time after the entry stopped being fresh. An
//! entry that was not requested for longer may hide a write that Redis missed, and then some requests would see that
//! write and others would not.

use std::{pin::Pin, sync::Arc, time::Duration};

use prometheus::IntCounter;
use resilience::deadline::Deadline;
use strum::{EnumCount, VariantArray};
use tokio::time::Instant;

use super::flights::{Fetched, Flights, Source};
use crate::{
    cache::{
        entry::{Entry, Kind, Stamp},
        pages::{self, PageCache, PageKey},
        records::{self, RecordCache},
    },
    config::CacheConfig,
    dependencies::postgres::Postgres,
    error::Error,
    http::answer::{Answer, CacheResult, CacheStatus, Content, Forward, Provenance},
    metrics::Metrics,
};

/// How long after its fresh time an entry is still served while another request renews it. The renewal of a frequently
/// read entry begins at the end of its fresh time, and takes at most as long as a request.
const LONGEST_RENEWAL: Duration = Duration::from_millis(300);

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Reads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    records: RecordCache,
    pages: PageCache,
    cache_is_on: bool,
    postgres: Postgres,
    flights: Flights,
    stale_if_error: bool,
    results: [IntCounter; CacheResult::COUNT],
}

/// An entry or an error, and its provenance.
type Read = (Result<Entry, Error>, Provenance);

/// A read that continues to Postgres: the reason, the old entry if there is one, and the provenance so far.
struct Forwarded {
    why: Forward,
    /// An old entry, served if Postgres does not answer.
    old: Option<Entry>,
    provenance: Provenance,
}

impl Reads {
    /// The read path. With `CACHE=off` it does not use the caches.
    pub fn new(
        records: RecordCache,
        pages: PageCache,
        postgres: Postgres,
        config: &CacheConfig,
        request_timeout: Option<Duration>,
        metrics: &Metrics,
    ) -> Self {
        let source = Source { postgres: postgres.clone(), records: records.clone(), pages: pages.clone() };
        Self(Arc::new(Inner {
            records,
            pages,
            cache_is_on: config.enabled,
            postgres,
            flights: Flights::new(source, config.single_flight, request_timeout, metrics),
            stale_if_error: config.stale_if_error,
            results: std::array::from_fn(|i| {
                metrics.cache_requests.with_label_values(&[CacheResult::VARIANTS[i].as_str()])
            }),
        }))
    }

    /// The record, if the near cache has it: without Redis, and without waiting.
    pub fn near_record(&self, id: i64, known: impl Fn(u64) -> bool) -> Option<Answer> {
        let (entry, ttl) = self.0.records.find_near(id)?;
        let provenance = Provenance { cache: Some(CacheStatus::Near { ttl }), ..Provenance::default() };
        let (entry, provenance) = self.count((Ok(entry), provenance));
        Some(Answer { content: entry.and_then(|entry| content(id, entry, known)), provenance })
    }

    /// Reads one record; the answer is 304 if `known` accepts its version. With `past_cache` it is read from Postgres.
    pub async fn record(&self, id: i64, known: impl Fn(u64) -> bool, past_cache: bool, deadline: Deadline) -> Answer {
        let (entry, provenance) = self.count(self.find_record(id, past_cache, deadline).await);
        Answer { content: entry.and_then(|entry| content(id, entry, known)), provenance }
    }

    /// Reads one page. With `past_cache` it is read from Postgres.
    pub async fn page(&self, page: PageKey, past_cache: bool, deadline: Deadline) -> Answer {
        let (entry, provenance) = self.count(Box::pin(self.find_page(page, past_cache, deadline)).await);
        Answer { content: entry.map(|entry| Content::Page(entry.into_body())), provenance }
    }

    fn count(&self, read: Read) -> Read {
        if let Some(cache) = read.1.cache {
            self.0.results[cache.result() as usize].inc();
        }
        read
    }

    async fn find_record(&self, id: i64, past_cache: bool, deadline: Deadline) -> Read {
        if !self.0.cache_is_on {
            return self.forward_record(id, None, Forwarded::bypass("off", Provenance::default()), deadline).await;
        }
        let start = Instant::now();
        let found = self.0.records.find(id, start, deadline).await;
        let provenance = Provenance { redis: Some(start.elapsed()), ..Provenance::default() };
        let records::Found { entry, seen, corrupt } = match found {
            Ok(found) => found,
            Err(why) => {
                return self.forward_record(id, None, Forwarded::bypass(why.as_str(), provenance), deadline).await;
            }
        };
        let (why, old) = match entry {
            old if past_cache => (Forward::Request, old),
            None if corrupt => (Forward::Corrupt, None),
            None => (Forward::Miss, None),
            Some(entry) => match entry.fresh_for() {
                Some(ttl) => {
                    let cache = Some(CacheStatus::Hit { ttl });
                    // The most frequent case. What follows is in a boxed future.
                    return (Ok(entry), Provenance { cache, ..provenance });
                }
                None if self.is_being_renewed(id, &entry) => return stale(entry, provenance),
                None => (Forward::Stale, Some(entry)),
            },
        };
        self.forward_record(id, Some(seen), Forwarded { why, old, provenance }, deadline).await
    }

    /// Whether another request renews this entry and the entry may be served in the meantime: shortly after its fresh
    /// time, or at any age while Postgres is known to be unavailable.
    fn is_being_renewed(&self, id: i64, entry: &Entry) -> bool {
        let inner = &self.0;
        (entry.old_for() <= LONGEST_RENEWAL || inner.stale_if_error && !inner.postgres.knowledge().is_up())
            && inner.flights.is_renewing(id, entry.stamp)
    }

    /// Everything that follows a look-up without a fresh entry. It is boxed to keep the future of a cache hit small,
    /// because that future is moved several times per request. `seen`: the result of the look-up, if there was one.
    fn forward_record(
        &self,
        id: i64,
        seen: Option<Option<Stamp>>,
        forwarded: Forwarded,
        deadline: Deadline,
    ) -> Pin<Box<dyn Future<Output = Read> + Send + '_>> {
        Box::pin(async move {
            let result = match (seen, forwarded.why) {
                (Some(seen), Forward::Miss | Forward::Stale | Forward::Corrupt) => {
                    self.0.flights.record(id, seen, deadline).await
                }
                (seen, _) => self.0.flights.record_after(id, seen, deadline).await,
            };
            self.finish_read(result, forwarded)
        })
    }

    async fn find_page(&self, page: PageKey, past_cache: bool, deadline: Deadline) -> Read {
        if !self.0.cache_is_on {
            return self.forward_page(page, None, Forwarded::bypass("off", Provenance::default()), deadline).await;
        }
        if self.0.records.has_missed_writes() {
            // The page may contain one of these records, because the missed write did not start a new generation.
            let missed = Forwarded::bypass("missed_write", Provenance::default());
            return self.forward_page(page, None, missed, deadline).await;
        }
        let start = Instant::now();
        let found = self.0.pages.find(page, deadline).await;
        let provenance = Provenance { redis: Some(start.elapsed()), ..Provenance::default() };
        let found: pages::Found = match found {
            Ok(found) => found,
            Err(error) => {
                return self.forward_page(page, None, Forwarded::bypass(error.as_str(), provenance), deadline).await;
            }
        };
        let why = match &found.entry {
            _ if past_cache => Forward::Request,
            None if found.corrupt => Forward::Corrupt,
            None => Forward::Miss,
            Some(_) => match found.fresh() {
                Some((entry, ttl)) => {
                    return (Ok(entry.clone()), Provenance { cache: Some(CacheStatus::Hit { ttl }), ..provenance });
                }
                None => Forward::Stale,
            },
        };
        let generation = Some(found.generation);
        self.forward_page(page, generation, Forwarded { why, old: found.entry, provenance }, deadline).await
    }

    async fn forward_page(
        &self,
        page: PageKey,
        generation: Option<Stamp>,
        forwarded: Forwarded,
        deadline: Deadline,
    ) -> Read {
        let result = match (generation, forwarded.why) {
            (Some(generation), Forward::Miss | Forward::Stale | Forward::Corrupt) => {
                self.0.flights.page(page, generation, deadline).await
            }
            (generation, _) => self.0.flights.page_after(page, generation, deadline).await,
        };
        self.finish_read(result, forwarded)
    }

    /// Returns the result of a flight, or the old entry instead of an error.
    fn finish_read(&self, result: Result<(bool, Fetched), Error>, forwarded: Forwarded) -> Read {
        let Forwarded { why, old, provenance } = forwarded;
        let (collapsed, fetched) = match result {
            Ok(result) => result,
            Err(error) => return self.fall_back(old, error, why, provenance),
        };
        let provenance = Provenance { database: Some(fetched.database), ..provenance };
        match fetched.entry {
            Ok(entry) => {
                let cache = Some(CacheStatus::Forward { why, stored: fetched.stored, collapsed });
                (Ok(entry), Provenance { cache, ..provenance })
            }
            Err(error) => self.fall_back(old, error, why, provenance),
        }
    }

    fn fall_back(&self, old: Option<Entry>, error: Error, why: Forward, provenance: Provenance) -> Read {
        match old {
            Some(entry) if self.0.stale_if_error && error.is_of_the_database() => stale(entry, provenance),
            _ => {
                let cache = Some(CacheStatus::Forward { why, stored: false, collapsed: false });
                (Err(error), Provenance { cache, ..provenance })
            }
        }
    }
}

impl Forwarded {
    fn bypass(reason: &'static str, provenance: Provenance) -> Self {
        Self { why: Forward::Bypass(reason), old: None, provenance }
    }
}

fn content(id: i64, entry: Entry, known: impl Fn(u64) -> bool) -> Result<Content, Error> {
    match entry.kind() {
        Kind::Missing | Kind::Hold => Err(Error::NoRecord(id)),
        Kind::Record | Kind::Page => {
            let version = entry.stamp.version();
            Ok(match known(version) {
                true => Content::NotModified { version },
                false => Content::Record { body: entry.into_body(), version },
            })
        }
    }
}

fn stale(entry: Entry, provenance: Provenance) -> Read {
    let cache = Some(CacheStatus::Stale { age: entry.age() });
    (Ok(entry), Provenance { cache, ..provenance })
}
