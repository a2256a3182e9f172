//! Reads of Postgres, shared by simultaneous requests for the same data. One such read is a *flight*.
//!
//! The key of a flight says which requests it may answer. A flight that began after a look-up in the cache answers
//! requests whose look-up had the same result: the stamp of the entry, or the generation of pages. A write in between
//! would have changed that result. Past the cache there is no such result, so a request does not join a running flight,
//! whose data may be too old for it. All requests that arrive during that flight share the next one.
//!
//! A flight runs in its own task, so a client that disconnects does not affect the others.

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

/// The result of a flight.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) entry: Result<Entry, Error>,
    pub(super) stored: bool,
    pub(super) database: Duration,
}

/// The database that a flight reads, and the caches that store the result.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) postgres: Postgres,
    pub(super) records: RecordCache,
    pub(super) pages: PageCache,
}

/// The key of a flight: what it reads, and which requests may share it.
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

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Flights {
    source: Source,
    flights: Option<SingleFlight<Flight, Fetched>>,
    /// A flight gets the full time of one request, not the remaining time of the request that began it, because other
    /// requests that join it may have more time left.
    timeout: Option<Duration>,
    collapsed: IntCounter,
}

/// Whether the result was shared with another request, and the result.
type FlightResult = Result<(bool, Fetched), Error>;

impl Flights {
    pub(super) fn new(source: Source, single_flight: bool, timeout: Option<Duration>, metrics: &Metrics) -> Self {
        let collapsed = metrics.collapsed_reads.with_label_values(&["single_flight"]);
        Self { source, flights: single_flight.then(SingleFlight::new), timeout, collapsed }
    }

    /// Whether a flight is replacing the entry with this stamp.
    pub(super) fn is_renewing(&self, id: i64, seen: Stamp) -> bool {
        self.flights.as_ref().is_some_and(|flights| flights.is_flying(&Flight::Record(id, Some(seen))))
    }

    /// Reads a record after a look-up that saw `seen`.
    pub(super) async fn record(&self, id: i64, seen: Option<Stamp>, deadline: Deadline) -> FlightResult {
        self.fly(Flight::Record(id, seen), deadline, move |source, deadline| source.record(id, Some(seen), deadline))
            .await
    }

    /// Reads a record past the cache. The result is still stored if there was a look-up (`seen`).
    pub(super) async fn record_after(&self, id: i64, seen: Option<Option<Stamp>>, deadline: Deadline) -> FlightResult {
        self.fly(Flight::RecordAfter(id), deadline, move |source, deadline| source.record(id, seen, deadline)).await
    }

    /// Reads a page after a look-up that saw `generation`.
    pub(super) async fn page(&self, page: PageKey, generation: Stamp, deadline: Deadline) -> FlightResult {
        let flight = Flight::Page(page, generation);
        self.fly(flight, deadline, move |source, deadline| source.page(page, Some(generation), deadline)).await
    }

    /// Reads a page past the cache. The result is still stored if there was a look-up (`generation`).
    pub(super) async fn page_after(
        &self,
        page: PageKey,
        generation: Option<Stamp>,
        deadline: Deadline,
    ) -> FlightResult {
        self.fly(Flight::PageAfter(page), deadline, move |source, deadline| source.page(page, generation, deadline))
            .await
    }

    /// Joins or begins a flight. Without single flight each request reads for itself.
    async fn fly<Fetch>(
        &self,
        flight: Flight,
        deadline: Deadline,
        fetch: impl FnOnce(Source, Deadline) -> Fetch + Send + 'static,
    ) -> FlightResult
    where
        Fetch: Future<Output = Fetched> + Send + 'static,
    {
        let (source, timeout) = (self.source.clone(), self.timeout);
        let Some(flights) = &self.flights else {
            return Ok((false, fetch(source, deadline).await));
        };
        let fetch = move || async move { fetch(source, Deadline::after(Instant::now(), timeout)).await };
        match flight {
            Flight::Record(..) | Flight::Page(..) => self.wait_for(flights.run(flight, fetch), deadline).await,
            Flight::RecordAfter(_) | Flight::PageAfter(_) => {
                self.wait_for(flights.run_next(flight, fetch), deadline).await
            }
        }
    }

    /// Waits for the flight until the caller's own deadline, which may be earlier than that of the flight.
    async fn wait_for(
        &self,
        flight: impl Future<Output = (Role, Result<Fetched, FlightLost>)>,
        deadline: Deadline,
    ) -> FlightResult {
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
    /// `seen`: the result of the look-up. Without a look-up (`None`) nothing is stored.
    async fn record(self, id: i64, seen: Option<Option<Stamp>>, deadline: Deadline) -> Fetched {
        let start = Instant::now();
        let read = self.postgres.run(deadline, &GetRecord { id }).await;
        let database = start.elapsed();
        let entry = match read {
            Ok(Some(record)) => self.records.record_entry(&record).ok_or(Error::Internal),
            Ok(None) => Ok(self.records.missing_entry(id, seen.flatten())),
            Err(error) => Err(error.into()),
        };
        if let Ok(entry) = &entry {
            self.records.saw(id, entry);
        }
        let stored = match (&entry, seen) {
            // The box keeps the future of a read past the cache small.
            (Ok(entry), Some(seen)) => Box::pin(self.records.store(id, entry, seen, deadline)).await == Stored::Yes,
            _ => false,
        };
        Fetched { entry, stored, database }
    }

    /// `generation`: the current one at the look-up. Without a look-up (`None`) nothing is stored.
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
