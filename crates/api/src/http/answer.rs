//! The result of a read or write, and its headers: `Cache-Status` (RFC 9211), `Server-Timing`, `Age`, `ETag`.

use std::{
    fmt::{self, Write},
    time::Duration,
};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;

use super::conditions::{OfCollection, ReadConditions};
use crate::error::Error;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// May be stored, but must be revalidated before reuse, because a write may have changed it (RFC 9111, 5.2.2.4).
pub const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Valid only now and for this replica, so it must not be stored (RFC 9111, 5.2.2.5).
pub const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

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

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near { ttl } => write!(f, "near; hit; ttl={ttl}"),
            Self::Hit { ttl } => write!(f, "redis; hit; ttl={ttl}"),
            Self::Stale { .. } => f.write_str("redis; hit; detail=stale"),
            Self::Forward { why, stored, collapsed } => {
                match why {
                    // RFC 9211, 2.2: the cache has no usable answer for this URI.
                    Forward::Miss | Forward::Corrupt => f.write_str("redis; fwd=uri-miss")?,
                    Forward::Stale => f.write_str("redis; fwd=stale")?,
                    Forward::Request => f.write_str("redis; fwd=request")?,
                    Forward::Bypass(reason) => write!(f, "redis; fwd=bypass; detail={reason}")?,
                }
                if *stored {
                    f.write_str("; stored")?;
                }
                if *collapsed {
                    f.write_str("; collapsed")?;
                }
                if *why == Forward::Corrupt {
                    f.write_str("; detail=corrupt")?;
                }
                Ok(())
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

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let provenance = self.provenance;
        let mut response = match self.content {
            Ok(content) => content.into_response(),
            Err(error) => error.into_response(),
        };
        provenance.write(response.headers_mut());
        let cache = provenance.cache.map(CacheStatus::result);
        response.extensions_mut().insert(Observed { cache, redis: provenance.redis, database: provenance.database });
        response
    }
}

impl IntoResponse for Content {
    fn into_response(self) -> Response {
        let with = |status: StatusCode, body: Bytes| {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            let headers = response.headers_mut();
            if status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED {
                headers.insert(header::CONTENT_TYPE, JSON);
            }
            headers.insert(header::CACHE_CONTROL, NO_CACHE);
            response
        };
        let tagged = |mut response: Response, version: u64| {
            response.headers_mut().insert(header::ETAG, etag(version));
            response
        };
        match self {
            Self::Record { body, version } => tagged(with(StatusCode::OK, body), version),
            Self::NotModified { version } => tagged(with(StatusCode::NOT_MODIFIED, Bytes::new()), version),
            Self::Created { id, body } => {
                let mut response = tagged(with(StatusCode::CREATED, body), 1);
                response.headers_mut().insert(header::LOCATION, value(format_args!("/data/{id}")));
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
            headers.insert(CACHE_STATUS, value(format_args!("{cache}")));
            if let CacheStatus::Stale { age } = cache {
                headers.insert(header::AGE, HeaderValue::from(age));
            }
        }
        let timing = match (self.redis.map(Tenths), self.database.map(Tenths)) {
            (Some(redis), Some(db)) => value(format_args!("redis;dur={redis}, db;dur={db}")),
            (Some(redis), None) => value(format_args!("redis;dur={redis}")),
            (None, Some(db)) => value(format_args!("db;dur={db}")),
            (None, None) => return,
        };
        headers.insert(SERVER_TIMING, timing);
    }
}

fn etag(version: u64) -> HeaderValue {
    value(format_args!("\"{version}\""))
}

/// Formats a header value on the stack and copies it once. All values formatted here are short and visible ASCII.
fn value(arguments: fmt::Arguments<'_>) -> HeaderValue {
    let mut text = Text { bytes: [0; 96], length: 0 };
    let written = text.write_fmt(arguments).map(|()| HeaderValue::from_bytes(&text.bytes[..text.length]));
    written.ok().and_then(Result::ok).unwrap_or(HeaderValue::from_static("-"))
}

struct Text {
    bytes: [u8; 96],
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Milliseconds with one decimal, without floating-point formatting.
struct Tenths(Duration);

impl fmt::Display for Tenths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = (self.0.as_micros() + 50) / 100;
        write!(f, "{}.{}", tenths / 10, tenths % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_status_is_as_documented() {
        let forward = |why, stored, collapsed| CacheStatus::Forward { why, stored, collapsed }.to_string();
        assert_eq!(CacheStatus::Near { ttl: 27 }.to_string(), "near; hit; ttl=27");
        assert_eq!(CacheStatus::Hit { ttl: 27 }.to_string(), "redis; hit; ttl=27");
        assert_eq!(CacheStatus::Stale { age: 31 }.to_string(), "redis; hit; detail=stale");
        assert_eq!(forward(Forward::Miss, true, false), "redis; fwd=uri-miss; stored");
        assert_eq!(forward(Forward::Bypass("timeout"), false, true), "redis; fwd=bypass; detail=timeout; collapsed");
    }
}
