//! The handlers of `/data`: they parse the request and pass it on, and do nothing else.

use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, Uri, request::Parts},
};
use resilience::deadline::Deadline;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio::time::Instant;

use super::admission::Place;
use crate::{
    cache::pages::PageKey,
    error::Error,
    http::{
        answer::Answer,
        body,
        conditions::{OfCollection, ReadConditions, WriteConditions},
        freshness::Freshness,
        idempotency_key::IdempotencyKey,
        receipt::{Peer, Receipt, WriteWindow},
    },
    records::model::NewRecord,
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

/// HEAD, and GET with a body.
pub(super) async fn get_record(State(state): State<AppState>, request: Request) -> Answer {
    read_record(&state, request, Instant::now()).await
}

/// The hot path. It takes the whole request and reads it in place: extractors for the id and the headers would copy them.
pub(super) async fn read_record<B>(state: &AppState, request: axum::http::Request<B>, received: Instant) -> Answer {
    let _place = match Place::take(request.headers(), state) {
        Ok(place) => place,
        Err(error) => return error.into(),
    };
    let freshness = Freshness::of(request.headers());
    let asked = id_of(&request).and_then(|id| Ok((id, ReadConditions::of(request.headers())?)));
    match asked {
        Ok((id, conditions)) => {
            if !freshness.is_past_cache()
                && let Some(answer) = state.reads.near_record(id, |version| conditions.know(version))
            {
                return answer.permitted(&conditions);
            }
            // The request is dropped here to keep the future of a hit small.
            drop(request);
            let past_cache = freshness.is_past_cache();
            let deadline = Deadline::after(received, state.config.limits.request_timeout);
            let answer = state.reads.record(id, |version| conditions.know(version), past_cache, deadline).await;
            answer.permitted(&conditions)
        }
        Err(error) => error.into(),
    }
}

pub(super) async fn list_records(State(state): State<AppState>, _place: Place, uri: Uri, headers: HeaderMap) -> Answer {
    let deadline = deadline(&state);
    let asked = parse_page(&uri).and_then(|page| Ok((page, OfCollection::of(&headers)?)));
    match asked {
        Ok(((after, limit), conditions)) => {
            let past_cache = Freshness::of(&headers).is_past_cache();
            let answer = state.reads.page(PageKey { after, limit }, past_cache, deadline).await;
            answer.page_permitted(conditions)
        }
        Err(error) => error.into(),
    }
}

pub(super) async fn create_record(
    State(state): State<AppState>,
    _place: Place,
    request: Request,
) -> Result<Answer, Error> {
    let (head, body) = request.into_parts();
    let conditions = OfCollection::of(&head.headers)?;
    let new = read_new_record(&state, &head.headers, body).await?;
    let key = IdempotencyKey::of(&head.headers, &new)?;
    let receipt = receipt(&state, &head);
    match conditions {
        OfCollection::Met => Ok(state.writes.create(new, key, receipt, deadline(&state)).await),
        OfCollection::NotMatched => Err(Error::NotMatched),
        OfCollection::Present => Err(Error::Present),
    }
}

pub(super) async fn replace_record(
    State(state): State<AppState>,
    _place: Place,
    request: Request,
) -> Result<Answer, Error> {
    let id = id_of(&request)?;
    let conditions = WriteConditions::of(request.headers())?;
    let (head, body) = request.into_parts();
    let new = read_new_record(&state, &head.headers, body).await?;
    let receipt = receipt(&state, &head);
    Ok(state.writes.replace(id, new, conditions, receipt, deadline(&state)).await)
}

pub(super) async fn delete_record(
    State(state): State<AppState>,
    _place: Place,
    request: Request,
) -> Result<Answer, Error> {
    let id = id_of(&request)?;
    let conditions = WriteConditions::of(request.headers())?;
    let (head, _) = request.into_parts();
    let receipt = receipt(&state, &head);
    Ok(state.writes.delete(id, conditions, receipt, deadline(&state)).await)
}

/// The deadline of the answer, counted from the time when the whole request has arrived.
fn deadline(state: &AppState) -> Deadline {
    Deadline::after(Instant::now(), state.config.limits.request_timeout)
}

/// The receipt of the write, made when the whole request has arrived.
fn receipt(state: &AppState, head: &Parts) -> Receipt {
    let limits = &state.config.limits;
    let window = WriteWindow { from_proxy: limits.write_window, from_now: limits.request_timeout };
    Receipt::new(&head.headers, head.extensions.get::<Peer>().cloned(), OffsetDateTime::now_utc(), window)
}

async fn read_new_record(state: &AppState, headers: &HeaderMap, body: Body) -> Result<NewRecord, Error> {
    let body = body::read(headers, body, state.config.server.body_timeout).await?;
    NewRecord::from_json(&body)
}

/// The last segment of the path, which was matched as `{id}`.
fn id_of<B>(request: &axum::http::Request<B>) -> Result<i64, Error> {
    parse_id(request.uri().path().strip_prefix("/data/").unwrap_or_default())
}

fn parse_id(text: &str) -> Result<i64, Error> {
    match text.parse::<i64>() {
        Ok(id) if id > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id),
        _ => Err(Error::Invalid(format!("the id must be a whole number from 1 to {}", i64::MAX))),
    }
}

fn parse_page(uri: &Uri) -> Result<(i64, u16), Error> {
    let Query(query) = Query::<PageQuery>::try_from_uri(uri)
        .map_err(|rejection| Error::Invalid(format!("the query: {}", rejection.body_text())))?;
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Error::Invalid(format!("limit: must be a whole number from 1 to {MAX_LIMIT}")));
    }
    let after = query.after.unwrap_or(0);
    if after < 0 {
        return Err(Error::Invalid("after: must be an id, or 0 for the first page".to_owned()));
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
        let parse_page = |query: &str| parse_page(&format!("/data?{query}").parse().expect("a target"));
        assert_eq!(parse_page("").expect("defaults"), (0, 50));
        assert_eq!(parse_page("limit=200&after=7").expect("bounds"), (7, 200));
        for wrong in ["limit=0", "limit=201", "limit=x", "limit=", "limit=1&limit=2", "after=-1", "after=x", "page=2"] {
            assert!(parse_page(wrong).is_err(), "{wrong}");
        }
    }
}
