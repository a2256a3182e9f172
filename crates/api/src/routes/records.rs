//! The handlers of `/data`: read the request, hand it on, nothing else.

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use resilience::deadline::Deadline;
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    body,
    conditions::{expected_version, names_version},
};
use crate::{
    error::Error,
    records::{idempotency::IdempotencyKey, model::NewRecord},
    state::AppState,
};

const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 200;

/// The parameters of a page.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    limit: Option<u16>,
    after: Option<i64>,
}

pub(super) async fn get_record(State(state): State<AppState>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let deadline = deadline(&state);
    match parse_id(&id) {
        Ok(id) => state
            .reads()
            .record(id, |version| names_version(&headers, version), deadline)
            .await
            .into_response(),
        Err(error) => error.into_response(),
    }
}

pub(super) async fn list_records(State(state): State<AppState>, RawQuery(query): RawQuery) -> Response {
    let deadline = deadline(&state);
    match parse_page(query.as_deref().unwrap_or_default()) {
        Ok((after, limit)) => state.reads().page(after, limit, deadline).await.into_response(),
        Err(error) => error.into_response(),
    }
}

pub(super) async fn create_record(
    State(state): State<AppState>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let new = read_record(&state, &headers, body).await?;
    let key = IdempotencyKey::of(&headers, &new)?;
    Ok(state.writes().create(new, key, deadline(&state)).await.into_response())
}

pub(super) async fn replace_record(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let id = parse_id(&id)?;
    let expected = expected_version(&headers)?;
    let new = read_record(&state, &headers, body).await?;
    Ok(state
        .writes()
        .replace(id, new, expected, deadline(&state))
        .await
        .into_response())
}

pub(super) async fn delete_record(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Error> {
    let id = parse_id(&id)?;
    let expected = expected_version(&headers)?;
    Ok(state
        .writes()
        .delete(id, expected, deadline(&state))
        .await
        .into_response())
}

/// The deadline of the answer, from when all of the request is there.
fn deadline(state: &AppState) -> Deadline {
    Deadline::after(Instant::now(), state.config().limits.request_timeout)
}

async fn read_record(state: &AppState, headers: &HeaderMap, body: Body) -> Result<NewRecord, Error> {
    let body = body::read(headers, body, state.config().server.body_timeout).await?;
    NewRecord::from_json(&body)
}

fn parse_id(text: &str) -> Result<i64, Error> {
    match text.parse::<i64>() {
        Ok(id) if id > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id),
        _ => Err(Error::Invalid(format!(
            "the id must be a whole number from 1 to {}",
            i64::MAX
        ))),
    }
}

fn parse_page(query: &str) -> Result<(i64, u16), Error> {
    let uri = axum::http::Uri::builder().path_and_query(format!("/?{query}")).build();
    let query = uri.map_err(|_| Error::Invalid("the query cannot be read".to_owned()))?;
    let axum::extract::Query(query) = axum::extract::Query::<PageQuery>::try_from_uri(&query)
        .map_err(|rejection| Error::Invalid(format!("the query: {}", rejection.body_text())))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::Invalid(format!(
            "limit: must be a whole number from 1 to {MAX_LIMIT}"
        )));
    }
    let after = query.after.unwrap_or(0);
    if after < 0 {
        return Err(Error::Invalid(
            "after: must be an id, or 0 for the first page".to_owned(),
        ));
    }
    Ok((after, limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_whole_numbers_from_1() {
        assert_eq!(parse_id("9223372036854775807").expect("the largest"), i64::MAX);
        for wrong in ["0", "-1", "+1", "1.0", "9223372036854775808", "abc", "", "1 ", "٣"] {
            assert!(parse_id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pages_have_bounds_and_no_unknown_parameters() {
        assert_eq!(parse_page("").expect("defaults"), (0, 50));
        assert_eq!(parse_page("limit=200&after=7").expect("bounds"), (7, 200));
        for wrong in [
            "limit=0",
            "limit=201",
            "limit=x",
            "limit=",
            "limit=1&limit=2",
            "after=-1",
            "after=x",
            "page=2",
        ] {
            assert!(parse_page(wrong).is_err(), "{wrong}");
        }
    }
}
