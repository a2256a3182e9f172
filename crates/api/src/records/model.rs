//! The record, and the body that a client sends to create or replace one.

use serde::{Deserialize, Serialize};
use sqlx::{
    Decode, Postgres, Row, Type,
    error::BoxDynError,
    postgres::{PgRow, PgTypeInfo, PgValueRef},
};
use time::{OffsetDateTime, macros::datetime};

use crate::error::Error;

/// Longest name, in characters.
pub const MAX_NAME: usize = 200;
/// Longest value, in bytes of UTF-8.
pub const MAX_VALUE: usize = 16 * 1024;

/// A record as it is sent to clients.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Assigned by Postgres, from 1 upwards, and never reused.
    pub id: i64,
    /// 1 to 200 characters.
    pub name: String,
    /// Up to 16 KiB.
    pub value: String,
    /// The number of writes, from 1 upwards.
    pub version: i64,
    /// The time of the last write.
    #[serde(with = "time::serde::rfc3339")]
    pub updated_at: OffsetDateTime,
}

impl Record {
    pub(super) fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            value: row.try_get(2)?,
            version: row.try_get(3)?,
            updated_at: row.try_get::<Timestamp, _>(4)?.0,
        })
    }

    /// Its JSON. On an error it is `None` and the error is logged; it is never an empty body.
    pub fn to_json(&self) -> Option<Vec<u8>> {
        to_json("record", self)
    }
}

fn to_json(what: &str, value: &impl Serialize) -> Option<Vec<u8>> {
    serde_json::to_vec(value)
        .inspect_err(|error| tracing::error!(what, error = %error, "an answer cannot be written as JSON"))
        .ok()
}

/// A `timestamptz` in the years 1 to 9999, the range of RFC 3339. sqlx's own decoding panics for other years.
struct Timestamp(OffsetDateTime);

/// The time from which Postgres counts microseconds.
const POSTGRES_EPOCH: OffsetDateTime = datetime!(2000-01-01 00:00 UTC);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl Decode<'_, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let microseconds = i64::from_be_bytes(value.as_bytes()?.try_into()?);
        let time = POSTGRES_EPOCH.checked_add(time::Duration::microseconds(microseconds));
        match time.filter(|time| (1..=9999).contains(&time.year())) {
            Some(time) => Ok(Self(time)),
            None => Err("a time outside of the years 1 to 9999".into()),
        }
    }
}

/// The body of POST and PUT.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewRecord {
    /// 1 to 200 characters.
    pub name: String,
    /// Up to 16 KiB.
    pub value: String,
}

impl NewRecord {
    /// Parses and validates a JSON body.
    ///
    /// # Errors
    /// [`Error::Invalid`] says what is wrong and where.
    pub fn from_json(body: &[u8]) -> Result<Self, Error> {
        let record: Self =
            serde_json::from_slice(body).map_err(|error| Error::Invalid(format!("the body: {error}")))?;
        let invalid = |text: String| Err(Error::Invalid(text));
        let characters = record.name.chars().count();
        if !(1..=MAX_NAME).contains(&characters) {
            return invalid(format!("name: has {characters} characters; 1 to {MAX_NAME} are allowed"));
        }
        if record.value.len() > MAX_VALUE {
            return invalid(format!("value: has {} bytes; up to {MAX_VALUE} are allowed", record.value.len()));
        }
        for (field, text) in [("name", &record.name), ("value", &record.value)] {
            if text.contains('\0') {
                return invalid(format!("{field}: holds a NUL character, which cannot be stored"));
            }
        }
        Ok(record)
    }
}

/// One page.
#[derive(Debug, Serialize)]
pub struct Page {
    /// Ordered by id.
    pub items: Vec<Record>,
    /// The value of `after` for the next page; `None` on the last page.
    pub next: Option<i64>,
}

impl Page {
    /// Its JSON. On an error it is `None` and the error is logged.
    pub fn to_json(&self) -> Option<Vec<u8>> {
        to_json("page", self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(name: &str, value: &str) -> Vec<u8> {
        serde_json::json!({ "name": name, "value": value }).to_string().into_bytes()
    }

    #[test]
    fn bounds_are_inclusive_and_count_characters_for_the_name_and_bytes_for_the_value() {
        assert!(NewRecord::from_json(&json(&"ä".repeat(200), &"x".repeat(16_384))).is_ok());
        assert!(NewRecord::from_json(&json(&"ä".repeat(201), "")).is_err());
        assert!(NewRecord::from_json(&json("", "")).is_err());
        assert!(NewRecord::from_json(&json("a", &"x".repeat(16_385))).is_err());
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |body: &[u8]| NewRecord::from_json(body).expect_err("invalid").to_string();
        assert!(said(br#"{"name":"a","value":"b","extra":1}"#).contains("unknown field `extra`"));
        assert!(said(br#"{"name":"a"}"#).contains("missing field `value`"));
        assert!(said(br#"{"name":"a","name":"b","value":""}"#).contains("duplicate field"));
        assert!(said(br#"{"name":"a\u0000","value":""}"#).contains("NUL"));
        assert!(said(b"{\"name\":\"\xff\",\"value\":\"\"}").contains("unicode"));
        assert!(said(b"").contains("EOF"));
        assert!(said("[".repeat(100_000).as_bytes()).contains("body"));
    }
}
