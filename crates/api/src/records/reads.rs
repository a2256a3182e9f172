//! The read path: Redis, then on a miss Postgres, then store.
//!
//! # In the order of time
//! ## Look up
//! A fresh entry answers. A cache that cannot answer is a bypass: counted, never an error to the client.
//! ## Fetch
//! One [flight](super::flights) per key reads Postgres; who wants the same key meanwhile waits for it.
//! ## Store
//! The flight stores what it read. After a bypass it does not try: Redis has just failed.
//! ## Fall back
//! An old entry answers, with `detail=stale` and its `Age`: instead of an error when Postgres does not answer, and at
//! once for those who come while another renews it. The latter only shortly after it was fresh: an entry that nobody
//! asked for may be older than a write of which Redis did not hear, and that write would be seen by one and not by all.

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

/// For how long after its fresh time an entry is served to those who come while another renews it: the renewal of an
/// entry that is in demand begins with the end of that time, and takes as long as a request at most.
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

/// An entry or why there is none, and how it came about.
type Read = (Result<Entry, Error>, Provenance);

/// What goes into a read of Postgres: why it is needed, what would do instead, and when it must be there.
struct Forwarded {
    why: Forward,
    /// An old entry, for the case that Postgres does not answer.
    old: Option<Entry>,
    provenance: Provenance,
}

impl Reads {
    /// The read path; the caches are not asked when the configuration says so.
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

    /// One record, or 304 if it has a version in `known`. `past_cache`: the client asked for what Postgres has.
    pub async fn record(&self, id: i64, known: impl Fn(u64) -> bool, past_cache: bool, deadline: Deadline) -> Answer {
        let (entry, provenance) = self.count(self.find_record(id, past_cache, deadline).await);
        let content = entry.and_then(|entry| match entry.kind() {
            Kind::Missing | Kind::Hold => Err(Error::NoRecord(id)),
            Kind::Record | Kind::Page => {
                let version = entry.stamp.version();
                let body = entry.body();
                Ok(if known(version) { Content::NotModified { version } } else { Content::Record { body, version } })
            }
        });
        Answer { content, provenance }
    }

    /// One page. `past_cache`: the client asked for what Postgres has.
    pub async fn page(&self, page: PageKey, past_cache: bool, deadline: Deadline) -> Answer {
        let (entry, provenance) = self.count(Box::pin(self.find_page(page, past_cache, deadline)).await);
        Answer { content: entry.map(|entry| Content::Page(entry.body())), provenance }
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
        let found = self.0.records.find(id, deadline).await;
        let provenance = Provenance { redis: Some(start.elapsed()), ..Provenance::default() };
        let records::Found { entry, seen, corrupt } = match found {
            Ok(found) => found,
            Err(why) => {
                return self.forward_record(id, None, Forwarded::bypass(why.as_str(), provenance), deadline).await;
            }
        };
        let why = match &entry {
            _ if past_cache => Forward::Request,
            None if corrupt => Forward::Corrupt,
            None => Forward::Miss,
            Some(entry) => match entry.fresh_for() {
                Some(ttl) => {
                    let cache = Some(CacheStatus::Hit { ttl });
                    // The usual way out. What follows has room of its own.
                    return (Ok(entry.clone()), Provenance { cache, ..provenance });
                }
                None if self.is_being_renewed(id, entry) => return stale(entry.clone(), provenance),
                None => Forward::Stale,
            },
        };
        self.forward_record(id, Some(seen), Forwarded { why, old: entry, provenance }, deadline).await
    }

    /// Somebody else is fetching this record: an entry that was fresh a moment ago is good enough for the others, and any
    /// while Postgres is known to be away.
    fn is_being_renewed(&self, id: i64, entry: &Entry) -> bool {
        let inner = &self.0;
        (entry.old_for() <= LONGEST_RENEWAL || inner.stale_if_error && !inner.postgres.knowledge().is_up())
            && inner.flights.is_renewing(id, entry.stamp)
    }

    /// Everything that follows a look-up without a fresh entry. Boxed: the future of a hit, which is moved about for each
    /// request, must not carry the room that a read of Postgres needs. `seen`: what the look-up saw, if there was one.
    fn forward_record(
        &self,
        id: i64,
        seen: Option<Option<Stamp>>,
        forwarded: Forwarded,
        deadline: Deadline,
    ) -> Pin<Box<dyn Future<Output = Read> + Send + '_>> {
        Box::pin(async move {
            let flown = match (seen, forwarded.why) {
                (Some(seen), Forward::Miss | Forward::Stale | Forward::Corrupt) => {
                    self.0.flights.record(id, seen, deadline).await
                }
                (seen, _) => self.0.flights.record_after(id, seen, deadline).await,
            };
            self.arrive(flown, forwarded)
        })
    }

    async fn find_page(&self, page: PageKey, past_cache: bool, deadline: Deadline) -> Read {
        if !self.0.cache_is_on {
            return self.forward_page(page, None, Forwarded::bypass("off", Provenance::default()), deadline).await;
        }
        if self.0.records.has_missed_writes() {
            // The page may hold one of them, under a generation that did not end.
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
        let flown = match (generation, forwarded.why) {
            (Some(generation), Forward::Miss | Forward::Stale | Forward::Corrupt) => {
                self.0.flights.page(page, generation, deadline).await
            }
            (generation, _) => self.0.flights.page_after(page, generation, deadline).await,
        };
        self.arrive(flown, forwarded)
    }

    /// What a flight brought home, or an old entry instead of an error.
    fn arrive(&self, flown: Result<(bool, Fetched), Error>, forwarded: Forwarded) -> Read {
        let Forwarded { why, old, provenance } = forwarded;
        let (collapsed, fetched) = match flown {
            Ok(flown) => flown,
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

fn stale(entry: Entry, provenance: Provenance) -> Read {
    let cache = Some(CacheStatus::Stale { age: entry.age() });
    (Ok(entry), Provenance { cache, ..provenance })
}
