//! Every statement on records. The only decisions here are those that must be made inside the statement: conditions,
//! and whether a write is within its time limit.

use sqlx::{PgConnection, Row, postgres::PgRow};

use super::model::{NewRecord, Page, Record};
use crate::{
    dependencies::postgres::{Access, Statement},
    http::{
        conditions::WriteConditions,
        idempotency_key::IdempotencyKey,
        receipt::{Abandoned, Receipt},
    },
};

/// One record.
#[derive(Debug, Clone, Copy)]
pub(super) struct GetRecord {
    pub(super) id: i64,
}

impl Statement for GetRecord {
    const ACCESS: Access = Access::Read;
    type Output = Option<Record>;

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Option<Record>> {
        let row = sqlx::query("SELECT id, name, value, version, updated_at FROM records WHERE id = $1")
            .bind(self.id)
            .fetch_optional(connection)
            .await?;
        row.as_ref().map(Record::from_row).transpose()
    }
}

/// One page.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListRecords {
    pub(super) after: i64,
    pub(super) limit: u16,
}

impl Statement for ListRecords {
    const ACCESS: Access = Access::Read;
    type Output = Page;

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Page> {
        // One record more than requested shows whether there is a next page.
        let mut rows =
            sqlx::query("SELECT id, name, value, version, updated_at FROM records WHERE id > $1 ORDER BY id LIMIT $2")
                .bind(self.after)
                .bind(i64::from(self.limit) + 1)
                .fetch_all(connection)
                .await?;
        let has_next = rows.len() > usize::from(self.limit);
        rows.truncate(usize::from(self.limit));
        let last: Option<i64> = rows.last().map(|row| row.try_get(0)).transpose()?;
        let items = rows.iter().filter_map(decodable).collect();
        Ok(Page { items, next: last.filter(|_| has_next) })
    }
}

/// Decodes a row of a page. A row that cannot be decoded does not fail the page: it is left out and logged.
fn decodable(row: &PgRow) -> Option<Record> {
    Record::from_row(row)
        .inspect_err(|error| {
            let id: i64 = row.try_get(0).unwrap_or_default();
            tracing::error!(id, error = %error, "a row cannot be decoded and is left out of its page");
        })
        .ok()
}

/// The result of a PUT or DELETE.
#[derive(Debug)]
pub(super) enum Written<T> {
    /// Done.
    Done(T),
    /// Not done: the conditions do not permit it. Holds the current record.
    NotPermitted(Record),
    /// Not done: there is no such record.
    Missing,
    /// Not done: the write was abandoned.
    Abandoned(Abandoned),
}

/// The result of a POST.
#[derive(Debug)]
pub(super) enum Created {
    Record(Record),
    /// The key was used before with the same body. Holds the record of the first answer.
    Before(Record),
    /// The key was used before with another body.
    KeyReused,
    /// Not done: the write was abandoned.
    Abandoned(Abandoned),
}

/// Creates a record. With a key, at most one record is created within 24 hours.
#[derive(Debug)]
pub(super) struct CreateRecord {
    pub(super) new: NewRecord,
    pub(super) key: Option<IdempotencyKey>,
    pub(super) receipt: Receipt,
}

impl Statement for CreateRecord {
    const ACCESS: Access = Access::Write;
    type Output = Created;

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Created> {
        if self.receipt.is_client_gone() {
            return Ok(Created::Abandoned(Abandoned::ClientGone));
        }
        match &self.key {
            None => self.insert(connection).await,
            Some(key) => self.insert_keyed(connection, key).await,
        }
    }
}

impl CreateRecord {
    async fn insert(&self, connection: &mut PgConnection) -> sqlx::Result<Created> {
        let row = sqlx::query(
            "INSERT INTO records (name, value) SELECT $1, $2 WHERE $3::timestamptz IS NULL OR clock_timestamp() <= $3 \
             RETURNING id, name, value, version, updated_at",
        )
        .bind(&self.new.name)
        .bind(&self.new.value)
        .bind(self.receipt.not_after)
        .fetch_optional(connection)
        .await?;
        row.map_or(Ok(Created::Abandoned(Abandoned::TooLate)), |row| Record::from_row(&row).map(Created::Record))
    }

    /// Inserts key and record in one statement, so that no other write can come between. Of two simultaneous requests
    /// with the same key, the second waits in the unique index until the first has committed. Each request deletes two
    /// expired keys, so that the table stays as large as one day's keys. An expired key with the same name is reused.
    async fn insert_keyed(&self, connection: &mut PgConnection, key: &IdempotencyKey) -> sqlx::Result<Created> {
        let row = sqlx::query(
            "WITH expired AS (\
               DELETE FROM idempotency_keys WHERE key IN (\
                 SELECT key FROM idempotency_keys WHERE created_at < now() - interval '24 hours' AND key <> $1 \
                 ORDER BY created_at LIMIT 2 FOR UPDATE SKIP LOCKED)\
             ), claimed AS (\
               INSERT INTO idempotency_keys AS held (key, fingerprint, record_id, created) \
               SELECT $1, sha256($2), nextval('records_id_seq'), now() \
               WHERE $5::timestamptz IS NULL OR clock_timestamp() <= $5 \
               ON CONFLICT (key) DO UPDATE SET fingerprint = excluded.fingerprint, record_id = excluded.record_id, \
                 created = excluded.created, created_at = now() \
                 WHERE held.created_at < now() - interval '24 hours' \
               RETURNING record_id, created\
             ) \
             INSERT INTO records (id, name, value, updated_at) OVERRIDING SYSTEM VALUE \
             SELECT record_id, $3, $4, created FROM claimed \
             RETURNING id, name, value, version, updated_at",
        )
        .bind(&key.key)
        .bind(&key.body)
        .bind(&self.new.name)
        .bind(&self.new.value)
        .bind(self.receipt.not_after)
        .fetch_optional(&mut *connection)
        .await?;
        match row {
            Some(row) => Record::from_row(&row).map(Created::Record),
            None => self.created_before(connection, key).await,
        }
    }

    /// Returns the first answer again, even if the record has changed since: the body is the same, and the version was
    /// 1.
    async fn created_before(&self, connection: &mut PgConnection, key: &IdempotencyKey) -> sqlx::Result<Created> {
        let row =
            sqlx::query("SELECT fingerprint = sha256($2), record_id, created FROM idempotency_keys WHERE key = $1")
                .bind(&key.key)
                .bind(&key.body)
                .fetch_optional(connection)
                .await?;
        let Some(row) = row else {
            return Ok(Created::Abandoned(Abandoned::TooLate));
        };
        if !row.try_get::<bool, _>(0)? {
            return Ok(Created::KeyReused);
        }
        Ok(Created::Before(Record {
            id: row.try_get(1)?,
            name: self.new.name.clone(),
            value: self.new.value.clone(),
            version: 1,
            updated_at: row.try_get(2)?,
        }))
    }
}

/// Replaces a record, if the conditions permit it.
#[derive(Debug)]
pub(super) struct ReplaceRecord {
    pub(super) id: i64,
    pub(super) new: NewRecord,
    pub(super) conditions: WriteConditions,
    pub(super) receipt: Receipt,
}

impl Statement for ReplaceRecord {
    const ACCESS: Access = Access::Write;
    type Output = Written<Record>;

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Written<Record>> {
        if self.receipt.is_client_gone() {
            return Ok(Written::Abandoned(Abandoned::ClientGone));
        }
        // A trigger of the table increments the version.
        let row = sqlx::query(
            "UPDATE records SET name = $2, value = $3 WHERE id = $1 \
             AND ($4::bigint[] IS NULL OR version = ANY($4)) AND version <> ALL($5) \
             AND ($6::timestamptz IS NULL OR clock_timestamp() <= $6) \
             RETURNING id, name, value, version, updated_at",
        )
        .bind(self.id)
        .bind(&self.new.name)
        .bind(&self.new.value)
        .bind(self.conditions.only.as_deref())
        .bind(&self.conditions.except)
        .bind(self.receipt.not_after)
        .fetch_optional(&mut *connection)
        .await?;
        match row {
            Some(row) => Record::from_row(&row).map(Written::Done),
            None => Ok(match not_done(connection, self.id, &self.receipt).await? {
                // A proxy repeats a PUT whose connection broke, even if the first copy took effect. Then the version
                // and the content show it.
                Written::NotPermitted(record) if self.took_effect(&record) => Written::Done(record),
                not_done => not_done,
            }),
        }
    }
}

impl ReplaceRecord {
    fn took_effect(&self, record: &Record) -> bool {
        let replaced = record.version - 1;
        self.conditions.only.as_deref().is_some_and(|only| only.contains(&replaced))
            && record.name == self.new.name
            && record.value == self.new.value
    }
}

/// Deletes a record, if the conditions permit it.
#[derive(Debug)]
pub(super) struct DeleteRecord {
    pub(super) id: i64,
    pub(super) conditions: WriteConditions,
    pub(super) receipt: Receipt,
}

impl Statement for DeleteRecord {
    const ACCESS: Access = Access::Write;
    /// The version that the record had.
    type Output = Written<i64>;

    async fn run(&self, connection: &mut PgConnection) -> sqlx::Result<Written<i64>> {
        if self.receipt.is_client_gone() {
            return Ok(Written::Abandoned(Abandoned::ClientGone));
        }
        let row = sqlx::query(
            "DELETE FROM records WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY($2)) AND version <> ALL($3) \
             AND ($4::timestamptz IS NULL OR clock_timestamp() <= $4) RETURNING version",
        )
        .bind(self.id)
        .bind(self.conditions.only.as_deref())
        .bind(&self.conditions.except)
        .bind(self.receipt.not_after)
        .fetch_optional(&mut *connection)
        .await?;
        match row {
            Some(row) => row.try_get(0).map(Written::Done),
            None => not_done(connection, self.id, &self.receipt).await,
        }
    }
}

/// Finds out why a write changed no row.
async fn not_done<T>(connection: &mut PgConnection, id: i64, receipt: &Receipt) -> sqlx::Result<Written<T>> {
    let row = sqlx::query(
        "SELECT id, name, value, version, updated_at, \
         ($2::timestamptz IS NOT NULL AND clock_timestamp() > $2) AS late FROM records WHERE id = $1",
    )
    .bind(id)
    .bind(receipt.not_after)
    .fetch_optional(connection)
    .await?;
    let Some(row) = row else { return Ok(Written::Missing) };
    if row.try_get("late")? {
        return Ok(Written::Abandoned(Abandoned::TooLate));
    }
    Record::from_row(&row).map(Written::NotPermitted)
}
