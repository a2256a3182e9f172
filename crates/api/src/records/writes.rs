//! The write path: Postgres first, then the cache.
//!
//! # In the order of time
//! ## Check the receipt
//! A write is abandoned when its client has disconnected or its time limit has passed ([`Receipt`]). The client's
//! connection is checked after a connection to Postgres was acquired, the time limit by the statement.
//! ## Commit
//! A write is one statement. After a time-out it is not known whether the statement took effect: a POST with an
//! `Idempotency-Key`, a PUT with `If-Match` and any DELETE can be sent again. The cache entries that it may have
//! changed are put on hold.
//! ## Update the cache
//! The new version is stored in Redis before the client gets its answer, so that every read after the answer sees it.
//! The update has its own time-out, independent of the request's deadline. When Redis does not store it, the write
//! remains valid, and [`missed`](crate::cache::missed) describes what follows.
//!
//! All of this runs in its own task, so that a client that disconnects between commit and update leaves no old entry
//! behind. The process waits for these tasks before it closes Redis and Postgres.

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
        receipt::{Abandoned, Receipt},
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

/// The update that a write makes to the cache.
enum CacheUpdate {
    Nothing,
    Wrote(super::model::Record),
    Deleted {
        id: i64,
        version: i64,
    },
    /// A failed precondition has shown that the entry may be old.
    Repair(super::model::Record),
    InDoubt(i64),
}

/// The answer to a write, and the update of the cache to make before it is sent.
type Outcome = (Result<Content, Error>, CacheUpdate);

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

    /// Waits for the running writes. Must be called when no new writes can start.
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
            let (content, update) = commit(Arc::clone(&inner)).await;
            let mut provenance = Provenance { database: Some(start.elapsed()), ..Provenance::default() };
            if inner.cache_is_on {
                let start = Instant::now();
                if inner.update_cache(update).await {
                    provenance.redis = Some(start.elapsed());
                }
            }
            Answer { content, provenance }
        });
        // The task is never aborted, so an error means that it panicked.
        write.await.unwrap_or_else(|_| Answer { content: Err(Error::Internal), provenance: Provenance::default() })
    }
}

impl Inner {
    /// Updates the cache. Returns whether there was anything to update.
    async fn update_cache(&self, update: CacheUpdate) -> bool {
        match update {
            CacheUpdate::Nothing => return false,
            CacheUpdate::Wrote(record) => self.cache.wrote(record.id, &record).await,
            CacheUpdate::Deleted { id, version } => self.cache.deleted(id, version).await,
            CacheUpdate::Repair(record) => self.cache.repair(record.id, &record).await,
            CacheUpdate::InDoubt(id) => self.cache.in_doubt(id).await,
        }
        true
    }

    async fn create(&self, create: CreateRecord, deadline: Deadline) -> Outcome {
        match self.postgres.run(deadline, &create).await {
            Ok(Created::Record(record)) => (created(&record), CacheUpdate::Wrote(record)),
            // This request wrote nothing, and the record may have changed since the first one. The replica that ran the
            // first one may have ended before it updated the cache.
            Ok(Created::Before(record)) => (created(&record), CacheUpdate::InDoubt(record.id)),
            Ok(Created::KeyReused) => (Err(Error::IdempotencyKeyReused), CacheUpdate::Nothing),
            Ok(Created::Abandoned(abandoned)) => (Err(abandoned.into()), CacheUpdate::Nothing),
            // The new id is unknown, so only pages can contain the record.
            Err(error) => failed(error, 0),
        }
    }

    async fn replace(&self, replace: ReplaceRecord, deadline: Deadline) -> Outcome {
        let id = replace.id;
        match self.postgres.run(deadline, &replace).await {
            Ok(Written::Done(record)) => {
                let version = u64::try_from(record.version).unwrap_or(0);
                let body = record.to_json().ok_or(Error::Internal);
                (body.map(|body| Content::Record { body: body.into(), version }), CacheUpdate::Wrote(record))
            }
            Ok(not_done) => refused(not_done, id),
            Err(error) => failed(error, id),
        }
    }

    async fn delete(&self, delete: DeleteRecord, deadline: Deadline) -> Outcome {
        let id = delete.id;
        match self.postgres.run(deadline, &delete).await {
            Ok(Written::Done(version)) => (Ok(Content::Gone), CacheUpdate::Deleted { id, version }),
            // The record does not exist, which is what the client asked for.
            Ok(Written::Missing) if !delete.conditions.must_exist => (Ok(Content::Gone), CacheUpdate::InDoubt(id)),
            // Without conditions this would succeed; `If-Match` is false when there is no record (RFC 9110, 13.1.1).
            Ok(Written::Missing) => (Err(Error::NotMatched), CacheUpdate::InDoubt(id)),
            Ok(not_done) => refused(not_done, id),
            Err(error) => failed(error, id),
        }
    }
}

fn created(record: &super::model::Record) -> Result<Content, Error> {
    let body = record.to_json().ok_or(Error::Internal)?;
    Ok(Content::Created { id: record.id, body: body.into() })
}

/// The answer to a write that was not done.
fn refused<T>(not_done: Written<T>, id: i64) -> Outcome {
    match not_done {
        Written::NotPermitted(record) => {
            (Err(Error::VersionMismatch { current: record.version }), CacheUpdate::Repair(record))
        }
        Written::Abandoned(abandoned) => (Err(abandoned.into()), CacheUpdate::Nothing),
        // The cache may still contain the record: Redis, or the replica that deleted it, may have missed the deletion.
        Written::Missing | Written::Done(_) => (Err(Error::NoRecord(id)), CacheUpdate::InDoubt(id)),
    }
}

/// The outcome of a failed write. It is in doubt when a statement was sent and not answered, or its answer could not be
/// decoded.
fn failed(error: DatabaseError, id: i64) -> Outcome {
    let update = match error {
        DatabaseError::Timeout | DatabaseError::Internal => CacheUpdate::InDoubt(id),
        DatabaseError::Unavailable
        | DatabaseError::NotAsked
        | DatabaseError::Busy
        | DatabaseError::ReadOnly
        | DatabaseError::Full
        | DatabaseError::Locked
        | DatabaseError::NoTime => CacheUpdate::Nothing,
    };
    (Err(error.into()), update)
}

impl From<Abandoned> for Error {
    fn from(abandoned: Abandoned) -> Self {
        match abandoned {
            Abandoned::ClientGone => Self::BodyBrokeOff,
            Abandoned::TooLate => Self::DeadlineExceeded(DeadlineExceeded),
        }
    }
}
