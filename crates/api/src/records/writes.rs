//! The write path: Postgres first, then the cache.
//!
//! # In the order of time
//! ## Wanted
//! Nobody waits any more, or its time is over: it is not done ([`Receipt`]). Asked with the connection in hand, and once
//! more inside the statement.
//! ## Commit
//! One statement. A time-out in the middle of it leaves open whether it was done: a POST with an `Idempotency-Key`, a PUT
//! with `If-Match` and any DELETE can be sent again. What it may have changed is put on hold in the cache.
//! ## Tell the cache
//! The new version goes into Redis before the client hears of it, so that who reads after the answer sees it. It has a time
//! of its own for that, not what is left of the request's. When Redis does not take it, the write stands all the same,
//! and [`missed`](crate::cache::missed) says what follows.
//!
//! All in a task of its own: a client that hangs up between commit and cache leaves no old entry behind. The process waits
//! for these tasks before it closes Redis and Postgres.

use std::sync::Arc;

use resilience::deadline::{Deadline, DeadlineExceeded};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::{
    model::NewRecord,
    sql::{CreateRecord, Created, DeleteRecord, ReplaceRecord, Written},
};
use crate::{
    cache::records::RecordCache,
    config::CacheConfig,
    dependencies::postgres::{DatabaseError, Postgres},
    error::Error,
    http::{
        answer::{Answer, Content, Provenance},
        conditions::WriteConditions,
        idempotency_key::IdempotencyKey,
        receipt::{Receipt, Unwanted},
    },
};

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Writes {
    inner: Arc<Inner>,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Inner {
    cache: RecordCache,
    cache_is_on: bool,
    postgres: Postgres,
}

/// What the cache must learn of a write.
enum Told {
    Nothing,
    Wrote(super::model::Record),
    Deleted {
        id: i64,
        version: i64,
    },
    /// An entry that a precondition has shown to be old.
    Repair(super::model::Record),
    InDoubt(i64),
}

/// The answer to a write, and what the cache must learn before it is given.
type Outcome = (Result<Content, Error>, Told);

impl Writes {
    /// The write path.
    pub fn new(cache: RecordCache, postgres: Postgres, config: &CacheConfig) -> Self {
        let inner = Arc::new(Inner { cache, cache_is_on: config.enabled, postgres });
        Self { inner, tasks: TaskTracker::new() }
    }

    /// POST.
    pub async fn create(
        &self,
        new: NewRecord,
        key: Option<IdempotencyKey>,
        receipt: Receipt,
        deadline: Deadline,
    ) -> Answer {
        let create = CreateRecord { new, key, receipt };
        self.run(move |inner| async move { inner.create(create, deadline).await }).await
    }

    /// PUT.
    pub async fn replace(
        &self,
        id: i64,
        new: NewRecord,
        conditions: WriteConditions,
        receipt: Receipt,
        deadline: Deadline,
    ) -> Answer {
        let replace = ReplaceRecord { id, new, conditions, receipt };
        self.run(move |inner| async move { inner.replace(replace, deadline).await }).await
    }

    /// DELETE.
    pub async fn delete(&self, id: i64, conditions: WriteConditions, receipt: Receipt, deadline: Deadline) -> Answer {
        let delete = DeleteRecord { id, conditions, receipt };
        self.run(move |inner| async move { inner.delete(delete, deadline).await }).await
    }

    /// Waits for the writes that are under way. No new ones come when this is called.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn run<F, Commit>(&self, commit: F) -> Answer
    where
        F: FnOnce(Arc<Inner>) -> Commit + Send + 'static,
        Commit: Future<Output = Outcome> + Send,
    {
        let inner = Arc::clone(&self.inner);
        let write = self.tasks.spawn(async move {
            let start = Instant::now();
            let (content, told) = commit(Arc::clone(&inner)).await;
            let mut provenance = Provenance { database: Some(start.elapsed()), ..Provenance::default() };
            if inner.cache_is_on {
                let start = Instant::now();
                if inner.tell(told).await {
                    provenance.redis = Some(start.elapsed());
                }
            }
            Answer { content, provenance }
        });
        // The task is never aborted; it can only have panicked.
        write.await.unwrap_or_else(|_| Answer { content: Err(Error::Internal), provenance: Provenance::default() })
    }
}

impl Inner {
    /// Tells the cache; whether there was anything to tell.
    async fn tell(&self, told: Told) -> bool {
        match told {
            Told::Nothing => return false,
            Told::Wrote(record) => self.cache.wrote(record.id, &record).await,
            Told::Deleted { id, version } => self.cache.deleted(id, version).await,
            Told::Repair(record) => self.cache.repair(record.id, &record).await,
            Told::InDoubt(id) => self.cache.in_doubt(id).await,
        }
        true
    }

    async fn create(&self, create: CreateRecord, deadline: Deadline) -> Outcome {
        match self.postgres.run(deadline, &create).await {
            Ok(Created::Record(record)) => (created(&record), Told::Wrote(record)),
            // Nothing was written now, and the record may have changed since.
            Ok(Created::Before(record)) => (created(&record), Told::Nothing),
            Ok(Created::KeyReused) => (Err(Error::IdempotencyKeyReused), Told::Nothing),
            Ok(Created::Unwanted(unwanted)) => (Err(unwanted.into()), Told::Nothing),
            // Nobody knows its id yet; what may hold it are pages.
            Err(error) => failed(error, 0),
        }
    }

    async fn replace(&self, replace: ReplaceRecord, deadline: Deadline) -> Outcome {
        let id = replace.id;
        match self.postgres.run(deadline, &replace).await {
            Ok(Written::Done(record)) => {
                let version = u64::try_from(record.version).unwrap_or(0);
                let body = record.to_json().ok_or(Error::Internal);
                (body.map(|body| Content::Record { body: body.into(), version }), Told::Wrote(record))
            }
            Ok(not_done) => refused(not_done, id, &replace.conditions),
            Err(error) => failed(error, id),
        }
    }

    async fn delete(&self, delete: DeleteRecord, deadline: Deadline) -> Outcome {
        let id = delete.id;
        match self.postgres.run(deadline, &delete).await {
            Ok(Written::Done(version)) => (Ok(Content::Gone), Told::Deleted { id, version }),
            // Gone already, as it was asked for.
            Ok(Written::Missing) if !delete.conditions.must_exist => (Ok(Content::Gone), Told::Nothing),
            // What would have succeeded without its conditions fails with them (RFC 9110, 13.1.1).
            Ok(Written::Missing) => (Err(Error::NotMatched), Told::Nothing),
            Ok(not_done) => refused(not_done, id, &delete.conditions),
            Err(error) => failed(error, id),
        }
    }
}

fn created(record: &super::model::Record) -> Result<Content, Error> {
    let body = record.to_json().ok_or(Error::Internal)?;
    Ok(Content::Created { id: record.id, body: body.into() })
}

/// The answer to a write that was not done.
fn refused<T>(not_done: Written<T>, id: i64, _conditions: &WriteConditions) -> Outcome {
    match not_done {
        Written::NotPermitted(record) => {
            (Err(Error::VersionMismatch { current: record.version }), Told::Repair(record))
        }
        Written::Unwanted(unwanted) => (Err(unwanted.into()), Told::Nothing),
        Written::Missing | Written::Done(_) => (Err(Error::NoRecord(id)), Told::Nothing),
    }
}

/// A write that failed: in doubt when a statement was sent and not answered, or its answer could not be read.
fn failed(error: DatabaseError, id: i64) -> Outcome {
    let told = match error {
        DatabaseError::Timeout | DatabaseError::Internal => Told::InDoubt(id),
        DatabaseError::Unavailable
        | DatabaseError::NotAsked
        | DatabaseError::Busy
        | DatabaseError::ReadOnly
        | DatabaseError::Locked
        | DatabaseError::NoTime => Told::Nothing,
    };
    (Err(error.into()), told)
}

impl From<Unwanted> for Error {
    fn from(unwanted: Unwanted) -> Self {
        match unwanted {
            Unwanted::HungUp => Self::BodyBrokeOff,
            Unwanted::Late => Self::DeadlineExceeded(DeadlineExceeded),
        }
    }
}
