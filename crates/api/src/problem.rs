//! Problem details (RFC 9457): the closed list of codes and the one table of their statuses.
//!
//! A handler answers with a [`Problem`]; the middleware writes its body, because only the middleware knows the request
//! id.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub mod catalogue;

/// Longest `detail`, in characters. Some details quote the request, and a request may be long.
const MAX_DETAIL: usize = 200;

/// The longest random addition to `Retry-After`: most answers say 1 to 3 s. It spreads the retries of clients that were
/// refused at the same time.
const RETRY_SPREAD: u64 = 3;

/// What went wrong, in one word: the member `code` of the body, the log field and the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[repr(u8)]
pub enum Code {
    /// The request cannot be understood; nothing was done.
    InvalidRequest,
    /// There is no such record or route.
    NotFound,
    /// The route has no such method.
    MethodNotAllowed,
    /// The request head or body did not arrive in time.
    RequestTimeout,
    /// `If-Match` does not name the current version, or `If-None-Match` does.
    PreconditionFailed,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The target is longer than the limit.
    UriTooLong,
    /// The body is not declared as JSON, not in UTF-8, or encoded.
    UnsupportedMediaType,
    /// The `Idempotency-Key` was used for another body.
    IdempotencyKeyReused,
    /// More requests per second than allowed.
    RateLimited,
    /// The head of the request is larger than the limit.
    HeadersTooLarge,
    /// The client disconnected before the answer; never sent, only counted.
    ClientClosed,
    /// A fault of this service.
    Internal,
    /// The limit of requests in flight is reached.
    Overloaded,
    /// Postgres cannot be reached, or it ended the connection.
    DatabaseUnavailable,
    /// The breaker of Postgres is open: nothing was sent.
    DatabaseNotAsked,
    /// No connection to Postgres became free in time: nothing was done.
    DatabaseBusy,
    /// A statement did not end in time: a write may or may not have taken effect.
    DatabaseTimeout,
    /// Postgres takes no writes (a standby, or set to read-only): nothing was done.
    DatabaseReadOnly,
    /// The disk of Postgres has no room for a write: nothing was done.
    DatabaseFull,
    /// Another transaction holds the record: nothing was done.
    RecordLocked,
    /// The request's deadline passed.
    DeadlineExceeded,
    /// The replica is shutting down.
    Draining,
}

impl Code {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }

    /// The status: the only such table of this service. 499 is nginx's number for a client that disconnected.
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest => 400,
            Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::RequestTimeout => 408,
            Self::PreconditionFailed => 412,
            Self::PayloadTooLarge => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType => 415,
            Self::IdempotencyKeyReused => 422,
            Self::RateLimited => 429,
            Self::HeadersTooLarge => 431,
            Self::ClientClosed => 499,
            Self::Internal => 500,
            Self::Overloaded
            | Self::DatabaseUnavailable
            | Self::DatabaseNotAsked
            | Self::DatabaseBusy
            | Self::DatabaseTimeout
            | Self::DatabaseReadOnly
            | Self::DatabaseFull
            | Self::RecordLocked
            | Self::DeadlineExceeded
            | Self::Draining => 503,
        }
    }

    /// The page about the code, as a reference relative to the request's target (RFC 9457, 3.1.1).
    pub fn type_reference(self) -> String {
        format!("{}{}", catalogue::BASE, self.as_str())
    }

    /// The earliest time to retry, in seconds. An unavailable dependency is probed twice a second.
    pub(crate) const fn earliest_retry(self) -> Option<u64> {
        match self.status() {
            429 | 503 => Some(1),
            _ => None,
        }
    }

    /// The code for an error answer that a library created, by its status.
    pub(crate) const fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NotFound,
            405 => Self::MethodNotAllowed,
            408 => Self::RequestTimeout,
            413 => Self::PayloadTooLarge,
            415 => Self::UnsupportedMediaType,
            400..=499 => Self::InvalidRequest,
            _ => Self::Internal,
        }
    }
}

/// Marks an error answer whose body has another form. The middleware does not replace it.
#[derive(Debug, Clone, Copy)]
pub struct OwnBody(pub Code);

/// An error answer before the middleware writes its body.
#[derive(Debug, Clone)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// One sentence for a human, without internal causes. At most [`MAX_DETAIL`] characters.
    detail: String,
    /// The dependency that failed.
    pub dependency: Option<&'static str>,
    /// The earliest time to retry, in seconds.
    pub earliest_retry: Option<u64>,
    /// What the service accepts: `Accept` or `Accept-Encoding` of the answer (RFC 9110, 15.5.16).
    pub accepted: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    trace_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dependency: Option<&'a str>,
}

impl Problem {
    /// A problem without a dependency.
    pub fn new(code: Code, detail: &str) -> Self {
        let detail = shortened(detail);
        Self { code, detail, dependency: None, earliest_retry: code.earliest_retry(), accepted: None }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The JSON body.
    pub(crate) fn document(&self, request_id: &str, trace_id: &str) -> Vec<u8> {
        let document = Document {
            r#type: &self.code.type_reference(),
            title: catalogue::title(self.code),
            status: self.code.status(),
            detail: &self.detail,
            code: self.code.as_str(),
            request_id,
            trace_id,
            dependency: self.dependency,
        };
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// `Retry-After`: the earliest time plus up to 2 s, chosen by the random number `chance`.
pub(crate) fn retry_after(earliest: u64, chance: u64) -> HeaderValue {
    HeaderValue::from(earliest + chance % RETRY_SPREAD)
}

/// The beginning and end of a text that is too long; the error is usually at one of them.
fn shortened(text: &str) -> String {
    let length = text.chars().count();
    if length <= MAX_DETAIL {
        return text.to_owned();
    }
    let half = (MAX_DETAIL - 1) / 2;
    let begin = text.chars().take(half);
    let end = text.chars().skip(length - half);
    begin.chain(['…']).chain(end).collect()
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        if let Some((name, value)) = self.accepted.take() {
            response.headers_mut().insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_detail_keeps_its_begin_and_end_within_200_characters() {
        assert_eq!(shortened(&"ä".repeat(200)), "ä".repeat(200));
        let long = format!("the body: {}: at line 1", "ä".repeat(100_000));
        let short = shortened(&long);
        assert!(short.starts_with("the body: ") && short.ends_with(": at line 1") && short.contains('…'), "{short}");
        assert!(short.chars().count() <= MAX_DETAIL, "{short}");
    }

    #[test]
    fn clients_come_back_at_different_times() {
        let seconds: Vec<HeaderValue> = (0..4).map(|chance| retry_after(1, chance)).collect();
        assert_eq!(seconds, ["1", "2", "3", "1"].map(HeaderValue::from_static));
    }
}
