//! The result of a read or write, and its headers: `Cache-Status` (RFC 9211), `Server-Timing`, `Age`, `ETag`.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::{Either, Full};

use super::conditions::{OfCollection, ReadConditions};
use crate::{error::Error, short_text::ShortText};

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// May be stored, but must be revalidated before reuse, because a write may have changed it (RFC 9111, 5.2.2.4).
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Valid only now and for this replica, so it must not be stored (RFC 9111, 5.2.2.5).
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// The headers of an answer with those that the middleware adds: the map never grows.
const USUAL_HEADERS: usize = 12;

/// The body of an answer: one piece, which is the usual case and needs no allocation, or any other body.
pub type AnswerBody = Either<Full<Bytes>, Body>;

/// The result of a look-up in the cache: the log field and the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[repr(u8)]
pub enum CacheResult {
    /// A fresh entry of the near cache answered.
    Near,
    /// A fresh entry answered.
    Hit,
    /// An old entry answered.
    Stale,
    /// There was no entry.
    Miss,
    /// The entry could not be decoded, and was replaced.
    Corrupt,
    /// An old entry was renewed first.
    Refresh,
    /// The client asked for an answer from Postgres.
    Revalidated,
    /// The cache could not answer, or was not used.
    Bypass,
}

impl CacheResult {
    /// The word for logs and metrics.
    pub const fn as_str(self) -> &'static str {
        self.into_str()
    }
}

/// The value of `Cache-Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheStatus {
    /// From the near cache, fresh for this many seconds.
    Near {
        /// Seconds.
        ttl: u64,
    },
    /// Fresh for this many seconds.
    Hit {
        /// Seconds.
        ttl: u64,
    },
    /// Old, with this age.
    Stale {
        /// Seconds since it was read from Postgres.
        age: u64,
    },
    /// Read from Postgres.
    Forward {
        /// Why the read went to Postgres.
        why: Forward,
        /// Whether the result is now in the cache.
        stored: bool,
        /// Whether another request's read was shared.
        collapsed: bool,
    },
}

/// Why a read went to Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forward {
    /// No entry.
    Miss,
    /// The value is not a valid entry.
    Corrupt,
    /// An old entry.
    Stale,
    /// The client asked for it (`Cache-Control: no-cache`).
    Request,
    /// Redis was not called or did not answer, for this reason.
    Bypass(&'static str),
}

impl CacheStatus {
    /// The word for logs and metrics.
    pub fn result(self) -> CacheResult {
        match self {
            Self::Near { .. } => CacheResult::Near,
            Self::Hit { .. } => CacheResult::Hit,
            Self::Stale { .. } => CacheResult::Stale,
            Self::Forward { why: Forward::Miss, .. } => CacheResult::Miss,
            Self::Forward { why: Forward::Corrupt, .. } => CacheResult::Corrupt,
            Self::Forward { why: Forward::Stale, .. } => CacheResult::Refresh,
            Self::Forward { why: Forward::Request, .. } => CacheResult::Revalidated,
            Self::Forward { why: Forward::Bypass(_), .. } => CacheResult::Bypass,
        }
    }
}

impl CacheStatus {
    fn text(self) -> ShortText {
        let text = ShortText::new();
        match self {
            Self::Near { ttl } => text.text("near; hit; ttl=").number(ttl),
            Self::Hit { ttl } => text.text("redis; hit; ttl=").number(ttl),
            Self::Stale { .. } => text.text("redis; hit; detail=stale"),
            Self::Forward { why, stored, collapsed } => {
                let text = match why {
                    // RFC 9211, 2.2: the cache has no usable answer for this URI.
                    Forward::Miss | Forward::Corrupt => text.text("redis; fwd=uri-miss"),
                    Forward::Stale => text.text("redis; fwd=stale"),
                    Forward::Request => text.text("redis; fwd=request"),
                    Forward::Bypass(reason) => text.text("redis; fwd=bypass; detail=").text(reason),
                };
                let text = if stored { text.text("; stored") } else { text };
                let text = if collapsed { text.text("; collapsed") } else { text };
                if why == Forward::Corrupt { text.text("; detail=corrupt") } else { text }
            }
        }
    }
}

/// What the middleware logs about a request to `/data`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed {
    /// The result of the look-up in the cache.
    pub cache: Option<CacheResult>,
    /// Time spent on Redis.
    pub redis: Option<Duration>,
    /// Time spent on Postgres.
    pub database: Option<Duration>,
}

/// How an answer was obtained.
#[derive(Debug, Clone, Copy, Default)]
pub struct Provenance {
    /// Only for reads.
    pub cache: Option<CacheStatus>,
    /// Time spent on Redis.
    pub redis: Option<Duration>,
    /// Time spent on Postgres.
    pub database: Option<Duration>,
}

/// The content of a successful answer.
#[derive(Debug)]
pub enum Content {
    /// A record and its version.
    Record {
        /// JSON.
        body: Bytes,
        /// For `ETag`.
        version: u64,
    },
    /// The client has this version already.
    NotModified {
        /// For `ETag`.
        version: u64,
    },
    /// A new record.
    Created {
        /// For `Location`.
        id: i64,
        /// JSON.
        body: Bytes,
    },
    /// A page.
    Page(Bytes),
    /// The client already has a page, and wants no other (`If-None-Match: *`).
    PageNotModified,
    /// No content.
    Gone,
}

/// Content or error, and how it was obtained.
#[derive(Debug)]
pub struct Answer {
    /// The content or the error.
    pub content: Result<Content, Error>,
    /// How it was obtained.
    pub provenance: Provenance,
}

impl Answer {
    /// Applies the conditions of the request to a successful answer.
    pub(crate) fn permitted(mut self, conditions: &ReadConditions) -> Self {
        let version = match &self.content {
            Ok(Content::Record { version, .. } | Content::NotModified { version }) => *version,
            Ok(Content::Created { .. } | Content::Page(_) | Content::PageNotModified | Content::Gone) | Err(_) => {
                return self;
            }
        };
        if !conditions.permit(version) {
            self.content = Err(Error::VersionMismatch { current: i64::try_from(version).unwrap_or(i64::MAX) });
        }
        self
    }

    /// Applies the conditions of the request to a successful page.
    pub(crate) fn page_permitted(mut self, conditions: OfCollection) -> Self {
        if self.content.is_ok() {
            match conditions {
                OfCollection::Met => {}
                OfCollection::NotMatched => self.content = Err(Error::NotMatched),
                OfCollection::Present => self.content = Ok(Content::PageNotModified),
            }
        }
        self
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self { content: Err(error), provenance: Provenance::default() }
    }
}

impl Answer {
    /// The response, and what the log says about it.
    pub(crate) fn into_parts(self) -> (Response<AnswerBody>, Observed) {
        let Provenance { cache, redis, database } = self.provenance;
        let mut response = match self.content {
            Ok(content) => content.into_response().map(Either::Left),
            Err(error) => error.into_response().map(Either::Right),
        };
        self.provenance.write(response.headers_mut());
        (response, Observed { cache: cache.map(CacheStatus::result), redis, database })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let (mut response, observed) = self.into_parts();
        response.extensions_mut().insert(observed);
        response.map(Body::new)
    }
}

impl Content {
    fn into_response(self) -> Response<Full<Bytes>> {
        let with = |status: StatusCode, body: Bytes| {
            let mut response = Response::new(Full::new(body));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            *headers = HeaderMap::with_capacity(USUAL_HEADERS);
            if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
                headers.insert(header::CONTENT_TYPE, JSON);
            }
            headers.insert(header::CACHE_CONTROL, NO_CACHE);
            response
        };
        let tagged = |mut response: Response<Full<Bytes>>, version: u64| {
            let etag = ShortText::new().text("\"").number(version).text("\"");
            response.headers_mut().insert(header::ETAG, etag.value());
            response
        };
        match self {
            Self::Record { body, version } => tagged(with(StatusCode::OK, body), version),
            Self::NotModified { version } => tagged(with(StatusCode::NOT_MODIFIED, Bytes::new()), version),
            Self::Created { id, body } => {
                let mut response = tagged(with(StatusCode::CREATED, body), 1);
                let location = ShortText::new().text("/data/").number(id.unsigned_abs());
                response.headers_mut().insert(header::LOCATION, location.value());
                response
            }
            Self::Page(body) => with(StatusCode::OK, body),
            Self::PageNotModified => with(StatusCode::NOT_MODIFIED, Bytes::new()),
            Self::Gone => with(StatusCode::NO_CONTENT, Bytes::new()),
        }
    }
}

impl Provenance {
    fn write(self, headers: &mut HeaderMap) {
        if let Some(cache) = self.cache {
            headers.insert(CACHE_STATUS, cache.text().value());
            if let CacheStatus::Stale { age } = cache {
                headers.insert(header::AGE, HeaderValue::from(age));
            }
        }
        let redis = |text: ShortText, duration| milliseconds(text.text("redis;dur="), duration);
        let database = |text: ShortText, duration| milliseconds(text.text("db;dur="), duration);
        let timing = match (self.redis, self.database) {
            (Some(first), Some(second)) => database(redis(ShortText::new(), first).text(", "), second),
            (Some(only), None) => redis(ShortText::new(), only),
            (None, Some(only)) => database(ShortText::new(), only),
            (None, None) => return,
        };
        headers.insert(SERVER_TIMING, timing.value());
    }
}

/// Milliseconds with one decimal, without floating-point formatting.
fn milliseconds(text: ShortText, duration: Duration) -> ShortText {
    let tenths = (u64::try_from(duration.as_micros()).unwrap_or(u64::MAX).saturating_add(50)) / 100;
    text.number(tenths / 10).text(".").number(tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_status_is_as_documented() {
        let forward =
            |why, stored, collapsed| CacheStatus::Forward { why, stored, collapsed }.text().as_str().to_owned();
        assert_eq!(CacheStatus::Near { ttl: 27 }.text().as_str(), "near; hit; ttl=27");
        assert_eq!(CacheStatus::Hit { ttl: 27 }.text().as_str(), "redis; hit; ttl=27");
        assert_eq!(CacheStatus::Stale { age: 31 }.text().as_str(), "redis; hit; detail=stale");
        assert_eq!(forward(Forward::Miss, true, false), "redis; fwd=uri-miss; stored");
        assert_eq!(forward(Forward::Corrupt, true, false), "redis; fwd=uri-miss; stored; detail=corrupt");
        assert_eq!(forward(Forward::Bypass("timeout"), false, true), "redis; fwd=bypass; detail=timeout; collapsed");
    }
    #[test]
    fn the_server_timing_has_tenths_of_milliseconds() {
        let timing = |redis, database| {
            let micros = |micros: Option<u64>| micros.map(Duration::from_micros);
            let mut headers = HeaderMap::new();
            Provenance { cache: None, redis: micros(redis), database: micros(database) }.write(&mut headers);
            headers.get(SERVER_TIMING).map(|value| value.to_str().expect("ASCII").to_owned())
        };
        assert_eq!(timing(Some(449), None).as_deref(), Some("redis;dur=0.4"));
        assert_eq!(timing(None, Some(12_950)).as_deref(), Some("db;dur=13.0"));
        assert_eq!(timing(Some(0), Some(1_000_000)).as_deref(), Some("redis;dur=0.0, db;dur=1000.0"));
        assert_eq!(timing(None, None), None);
    }
}
