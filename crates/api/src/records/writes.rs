//! The write path: Postgres first, then the cache.
//!
//! # In the order of time
//! ## Commit
//! One statement or one transaction. A time-out in the middle of it leaves open whether it was done: a POST with an
//! `Idempotency-Key`, a PUT with `If-Match` and any DELETE can be sent again.
//! ## Tell the cache
//! The new version goes into Redis before the client hears of it, so that who reads after the answer sees it. When Redis
//! does not answer, the write stands all the same, and other readers may see the old version until its entry is no
//! longer fresh (`CACHE_FRESH`).
//!
//! Both run in a task of their own: a client that hangs up between the two leaves no old entry behind.

use std::sync::Arc;

use resilience::deadline::Deadline;
use tokio::time::Instant;

use super::{
    model::NewRecord,
    sql::{self, Created, Deleted, Replaced},
};
use crate::{
    cache::{Cache, entry::Entry, key::Key},
    config::CacheConfig,
    dependencies::postgres::Postgres,
    error::Error,
    http::{
        answer::{Answer, Content, Provenance},
        conditions::WriteConditions,
        idempotency_key::IdempotencyKey,
    },
};

/// Clones share everything.
#[derive(Debug, Clone)]
pub struct Writes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    cache: Cache,
    cache_is_on: bool,
    postgres: Postgres,
}

/// A write as it was committed: what to answer, and what the cache must learn.
struct Committed {
    content: Content,
    entry: Option<(Key, Entry)>,
}

impl Writes {
    /// The write path.
    pub fn new(cache: Cache, postgres: Postgres, config: &CacheConfig) -> Self {
        Self(Arc::new(Inner { cache, cache_is_on: config.enabled, postgres }))
    }

    /// POST.
    pub async fn create(&self, new: NewRecord, key: Option<IdempotencyKey>, deadline: Deadline) -> Answer {
        self.run(deadline, move |inner| async move { inner.create(new, key, deadline).await }).await
    }

    /// PUT.
    pub async fn replace(&self, id: i64, new: NewRecord, conditions: WriteConditions, deadline: Deadline) -> Answer {
        self.run(deadline, move |inner| async move { inner.replace(id, new, conditions, deadline).await }).await
    }

    /// DELETE.
    pub async fn delete(&self, id: i64, conditions: WriteConditions, deadline: Deadline) -> Answer {
        self.run(deadline, move |inner| async move { inner.delete(id, conditions, deadline).await }).await
    }

    async fn run<F, Commit>(&self, deadline: Deadline, commit: F) -> Answer
    where
        F: FnOnce(Arc<Inner>) -> Commit + Send + 'static,
        Commit: Future<Output = Result<Committed, Error>> + Send,
    {
        let inner = Arc::clone(&self.0);
        let write = tokio::spawn(async move {
            let start = Instant::now();
            let committed = commit(Arc::clone(&inner)).await;
            let mut provenance = Provenance { database: Some(start.elapsed()), ..Provenance::default() };
            let content = match committed {
                Ok(Committed { content, entry }) => {
                    if let Some((key, entry)) = entry.filter(|_| inner.cache_is_on) {
                        let start = Instant::now();
                        inner.cache.store_written(&key, &entry, deadline).await;
                        provenance.redis = Some(start.elapsed());
                    }
                    Ok(content)
                }
                Err(error) => Err(error),
            };
            Answer { content, provenance }
        });
        // The task is never aborted; it can only have panicked.
        write.await.unwrap_or_else(|_| Answer { content: Err(Error::Internal), provenance: Provenance::default() })
    }
}

impl Inner {
    async fn create(
        &self,
        new: NewRecord,
        key: Option<IdempotencyKey>,
        deadline: Deadline,
    ) -> Result<Committed, Error> {
        let created = self
            .postgres
            .run(deadline, move |connection| Box::pin(async move { sql::create(connection, &new, key).await }))
            .await?;
        match created {
            Created::Record(record) => {
                let body = record.to_json();
                let entry = self.cache.record_entry(record.version, &body);
                let content = Content::Created { id: record.id, body: body.into() };
                Ok(Committed { content, entry: Some((Key::Record(record.id), entry)) })
            }
            // Nothing was written now, and the record may have changed since.
            Created::Before(record) => {
                let content = Content::Created { id: record.id, body: record.to_json().into() };
                Ok(Committed { content, entry: None })
            }
            Created::KeyReused => Err(Error::IdempotencyKeyReused),
        }
    }

    async fn replace(
        &self,
        id: i64,
        new: NewRecord,
        conditions: WriteConditions,
        deadline: Deadline,
    ) -> Result<Committed, Error> {
        let replaced = self
            .postgres
            .run(deadline, move |connection| {
                Box::pin(async move { sql::replace(connection, id, &new, &conditions).await })
            })
            .await?;
        match replaced {
            Replaced::Record(record) => {
                let entry = self.cache.record_entry(record.version, &record.to_json());
                let content = Content::Record { body: entry.body(), version: entry.stamp.version() };
                Ok(Committed { content, entry: Some((Key::Record(id), entry)) })
            }
            Replaced::OtherVersion(current) => Err(Error::VersionMismatch { current }),
            Replaced::Missing => Err(Error::NoRecord(id)),
        }
    }

    async fn delete(&self, id: i64, conditions: WriteConditions, deadline: Deadline) -> Result<Committed, Error> {
        let must_exist = conditions.must_exist;
        let deleted = self
            .postgres
            .run(deadline, move |connection| Box::pin(async move { sql::delete(connection, id, &conditions).await }))
            .await?;
        match deleted {
            Deleted::Version(version) => {
                let entry = self.cache.deleted_entry(version);
                Ok(Committed { content: Content::Gone, entry: Some((Key::Record(id), entry)) })
            }
            Deleted::OtherVersion(current) => Err(Error::VersionMismatch { current }),
            Deleted::Missing if must_exist => Err(Error::NotMatched),
            Deleted::Missing => Ok(Committed { content: Content::Gone, entry: None }),
        }
    }
}
