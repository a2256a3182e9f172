//! Every statement on records. Nothing here decides anything; bounds and judgement stand around it.

use sqlx::{Connection, PgConnection, Row};

use super::model::{NewRecord, Page, Record};
use crate::http::{conditions::WriteConditions, idempotency_key::IdempotencyKey};

/// What became of a PUT.
#[derive(Debug)]
pub(super) enum Replaced {
    Record(Record),
    OtherVersion(i64),
    Missing,
}

/// What became of a DELETE.
#[derive(Debug)]
pub(super) enum Deleted {
    Version(i64),
    OtherVersion(i64),
    Missing,
}

/// What became of a POST.
#[derive(Debug)]
pub(super) enum Created {
    Record(Record),
    /// The key was used before, for the same body: the first answer.
    Before(Record),
    /// The key was used before, for another body.
    KeyReused,
}

pub(super) async fn get(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<Record>> {
    let row = sqlx::query("SELECT id, name, value, version, updated_at FROM records WHERE id = $1")
        .bind(id)
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(Record::from_row).transpose()
}

pub(super) async fn page(connection: &mut PgConnection, after: i64, limit: u16) -> sqlx::Result<Page> {
    // One more than asked for tells whether there is a next page.
    let rows =
        sqlx::query("SELECT id, name, value, version, updated_at FROM records WHERE id > $1 ORDER BY id LIMIT $2")
            .bind(after)
            .bind(i64::from(limit) + 1)
            .fetch_all(connection)
            .await?;
    let items: Vec<Record> = rows.iter().take(usize::from(limit)).map(Record::from_row).collect::<sqlx::Result<_>>()?;
    let next = if rows.len() > usize::from(limit) { items.last().map(|record| record.id) } else { None };
    Ok(Page { items, next })
}

async fn insert(connection: &mut PgConnection, new: &NewRecord) -> sqlx::Result<Record> {
    let row =
        sqlx::query("INSERT INTO records (name, value) VALUES ($1, $2) RETURNING id, name, value, version, updated_at")
            .bind(&new.name)
            .bind(&new.value)
            .fetch_one(connection)
            .await?;
    Record::from_row(&row)
}

/// Creates a record; with a key at most once. Of two that come with the same key at the same time the second waits, in
/// the unique index, until the first has committed.
pub(super) async fn create(
    connection: &mut PgConnection,
    new: &NewRecord,
    key: Option<IdempotencyKey>,
) -> sqlx::Result<Created> {
    let Some(IdempotencyKey { key, body }) = &key else {
        return insert(connection, new).await.map(Created::Record);
    };
    let mut transaction = connection.begin().await?;
    // Each keyed POST clears away two that have expired, so that the table stays as large as a day's keys.
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys \
         WHERE created_at < now() - interval '24 hours' ORDER BY created_at LIMIT 2 FOR UPDATE SKIP LOCKED)",
    )
    .execute(&mut *transaction)
    .await?;
    let is_new =
        sqlx::query("INSERT INTO idempotency_keys (key, fingerprint) VALUES ($1, sha256($2)) ON CONFLICT DO NOTHING")
            .bind(key)
            .bind(body)
            .execute(&mut *transaction)
            .await?
            .rows_affected()
            == 1;
    if is_new {
        let record = insert(&mut transaction, new).await?;
        sqlx::query("UPDATE idempotency_keys SET record_id = $2, created = $3 WHERE key = $1")
            .bind(key)
            .bind(record.id)
            .bind(record.updated_at)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        return Ok(Created::Record(record));
    }
    let row = sqlx::query("SELECT fingerprint = sha256($2), record_id, created FROM idempotency_keys WHERE key = $1")
        .bind(key)
        .bind(body)
        .fetch_one(&mut *transaction)
        .await?;
    transaction.commit().await?;
    if !row.try_get::<bool, _>(0)? {
        return Ok(Created::KeyReused);
    }
    // The first answer again, whatever has become of the record since: the body is the same, the version was 1.
    Ok(Created::Before(Record {
        id: row.try_get(1)?,
        name: new.name.clone(),
        value: new.value.clone(),
        version: 1,
        updated_at: row.try_get(2)?,
    }))
}

/// Replaces a record, if `conditions` permit it.
pub(super) async fn replace(
    connection: &mut PgConnection,
    id: i64,
    new: &NewRecord,
    conditions: &WriteConditions,
) -> sqlx::Result<Replaced> {
    // The trigger of the table counts the version up.
    let row = sqlx::query(
        "UPDATE records SET name = $2, value = $3 WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY($4)) \
         AND version <> ALL($5) \
         RETURNING id, name, value, version, updated_at",
    )
    .bind(id)
    .bind(&new.name)
    .bind(&new.value)
    .bind(conditions.only.as_deref())
    .bind(&conditions.except)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => Record::from_row(&row).map(Replaced::Record),
        None => Ok(version(connection, id).await?.map_or(Replaced::Missing, Replaced::OtherVersion)),
    }
}

/// Deletes a record, if `conditions` permit it.
pub(super) async fn delete(
    connection: &mut PgConnection,
    id: i64,
    conditions: &WriteConditions,
) -> sqlx::Result<Deleted> {
    let row = sqlx::query(
        "DELETE FROM records WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY($2)) \
        AND version <> ALL($3) RETURNING version",
    )
    .bind(id)
    .bind(conditions.only.as_deref())
    .bind(&conditions.except)
    .fetch_optional(&mut *connection)
    .await?;
    match row {
        Some(row) => row.try_get(0).map(Deleted::Version),
        None => Ok(version(connection, id).await?.map_or(Deleted::Missing, Deleted::OtherVersion)),
    }
}

async fn version(connection: &mut PgConnection, id: i64) -> sqlx::Result<Option<i64>> {
    sqlx::query_scalar("SELECT version FROM records WHERE id = $1").bind(id).fetch_optional(connection).await
}
