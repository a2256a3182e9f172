//! Reads of Postgres, shared by those who want the same at the same time.
//!
//! A flight carries what it may answer. One that began after a look-up in the cache answers whoever saw the same there: the
//! stamp of the entry, the generation of pages; a write in between would have changed it. Past the cache there is nothing
//! to tell an old flight by, so nobody joins one that has begun: all who come meanwhile share the next one.
//!
//! A flight is a task of its own: a client that hangs up takes nothing away from the others.

use std::time::Duration;

use prometheus::IntCounter;
use resilience::{
    deadline::{Deadline, DeadlineExceeded},
    single_flight::{FlightLost, Role, SingleFlight},
};
use tokio::time::Instant;

use super::sql::{GetRecord, ListRecords};
use crate::{
    cache::{
        Stored,
        entry::{Entry, Stamp},
        pages::{PageCache, PageKey},
        records::RecordCache,
    },
    dependencies::postgres::Postgres,
    error::Error,
    metrics::Metrics,
};

/// What a flight brought home.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) entry: Result<Entry, Error>,
    pub(super) stored: bool,
    pub(super) database: Duration,
}

/// Where the truth is, and where to put what was read of it.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) postgres: Postgres,
    pub(super) records: RecordCache,
    pub(super) pages: PageCache,
}

/// What is fetched, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flight {
    /// After a look-up that saw this stamp.
    Record(i64, Option<Stamp>),
    /// Past the cache.
    RecordAfter(i64),
    /// After a look-up that saw this generation.
    Page(PageKey, Stamp),
    /// Past the cache.
    PageAfter(PageKey),
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Flights {
    source: Source,
    flights: Option<SingleFlight<Flight, Fetched>>,
    /// A flight has the time of one request from its beginning, not what is left of the one who began it: others may have
    /// more.
    timeout: Option<Duration>,
    collapsed: IntCounter,
}

/// Whether the result was shared, and the result.
type Flown = Result<(bool, Fetched), Error>;

impl Flights {
    pub(super) fn new(source: Source, single_flight: bool, timeout: Option<Duration>, metrics: &Metrics) -> Self {
        let collapsed = metrics.collapsed_reads.with_label_values(&["single_flight"]);
        Self { source, flights: single_flight.then(SingleFlight::new), timeout, collapsed }
    }

    /// Whether the entry with this stamp is being replaced.
    pub(super) fn is_renewing(&self, id: i64, seen: Stamp) -> bool {
        self.flights.as_ref().is_some_and(|flights| flights.is_flying(&Flight::Record(id, Some(seen))))
    }

    /// A record, after a look-up that saw `seen`.
    pub(super) async fn record(&self, id: i64, seen: Option<Stamp>, deadline: Deadline) -> Flown {
        let (source, timeout) = (self.source.clone(), self.timeout);
        match &self.flights {
            None => Ok((false, source.record(id, Some(seen), deadline).await)),
            Some(flights) => {
                let fetch = move || async move {
                    source.record(id, Some(seen), Deadline::after(Instant::now(), timeout)).await
                };
                self.land(flights.run(Flight::Record(id, seen), fetch), deadline).await
            }
        }
    }

    /// A record past the cache; stored all the same after a look-up.
    pub(super) async fn record_after(&self, id: i64, seen: Option<Option<Stamp>>, deadline: Deadline) -> Flown {
        let (source, timeout) = (self.source.clone(), self.timeout);
        match &self.flights {
            None => Ok((false, source.record(id, seen, deadline).await)),
            Some(flights) => {
                let fetch =
                    move || async move { source.record(id, seen, Deadline::after(Instant::now(), timeout)).await };
                self.land(flights.run_next(Flight::RecordAfter(id), fetch), deadline).await
            }
        }
    }

    /// A page, after a look-up that saw `generation`.
    pub(super) async fn page(&self, page: PageKey, generation: Stamp, deadline: Deadline) -> Flown {
        let (source, timeout) = (self.source.clone(), self.timeout);
        match &self.flights {
            None => Ok((false, source.page(page, Some(generation), deadline).await)),
            Some(flights) => {
                let fetch = move || async move {
                    source.page(page, Some(generation), Deadline::after(Instant::now(), timeout)).await
                };
                self.land(flights.run(Flight::Page(page, generation), fetch), deadline).await
            }
        }
    }

    /// A page past the cache; stored all the same after a look-up.
    pub(super) async fn page_after(&self, page: PageKey, generation: Option<Stamp>, deadline: Deadline) -> Flown {
        let (source, timeout) = (self.source.clone(), self.timeout);
        match &self.flights {
            None => Ok((false, source.page(page, generation, deadline).await)),
            Some(flights) => {
                let fetch = move || async move {
                    source.page(page, generation, Deadline::after(Instant::now(), timeout)).await
                };
                self.land(flights.run_next(Flight::PageAfter(page), fetch), deadline).await
            }
        }
    }

    /// A follower's own deadline may be earlier than that of the flight.
    async fn land(
        &self,
        flight: impl Future<Output = (Role, Result<Fetched, FlightLost>)>,
        deadline: Deadline,
    ) -> Flown {
        let (role, fetched) = match deadline.remaining(Instant::now()) {
            Some(left) => tokio::time::timeout(left, flight).await.map_err(|_| DeadlineExceeded)?,
            None => flight.await,
        };
        if role == Role::Follower {
            self.collapsed.inc();
        }
        Ok((role == Role::Follower, fetched.map_err(|_| Error::Internal)?))
    }
}

impl Source {
    /// `seen`: what a look-up saw, if there was one; without one nothing is stored.
    async fn record(self, id: i64, seen: Option<Option<Stamp>>, deadline: Deadline) -> Fetched {
        let start = Instant::now();
        let read = self.postgres.run(deadline, &GetRecord { id }).await;
        let database = start.elapsed();
        let entry = match read {
            Ok(Some(record)) => self.records.record_entry(&record).ok_or(Error::Internal),
            Ok(None) => Ok(self.records.missing_entry(id, seen.flatten())),
            Err(error) => Err(error.into()),
        };
        let stored = match (&entry, seen) {
            (Ok(entry), Some(seen)) => self.records.store(id, entry, seen, deadline).await == Stored::Yes,
            _ => false,
        };
        Fetched { entry, stored, database }
    }

    /// `generation`: the present one at the look-up, if there was one; without one nothing is stored.
    async fn page(self, page: PageKey, generation: Option<Stamp>, deadline: Deadline) -> Fetched {
        let start = Instant::now();
        let PageKey { after, limit } = page;
        let read = self.postgres.run(deadline, &ListRecords { after, limit }).await;
        let database = start.elapsed();
        let entry = match read {
            Ok(read) => match read.to_json() {
                Some(body) => Ok(self.pages.entry(generation.unwrap_or(Stamp::NONE), &body)),
                None => Err(Error::Internal),
            },
            Err(error) => Err(error.into()),
        };
        let stored = match (&entry, generation) {
            (Ok(entry), Some(_)) => self.pages.store(page, entry, deadline).await == Stored::Yes,
            _ => false,
        };
        Fetched { entry, stored, database }
    }
}
