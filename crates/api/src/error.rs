//! All errors of a request, and the answer to each: one closed enum, one exhaustive table.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use resilience::{admission::Overloaded, deadline::DeadlineExceeded, rate_limit::RateLimited};

use crate::{
    dependencies::postgres::{DatabaseError, POSTGRES},
    problem::{Code, Problem},
};

const APPLICATION_JSON: HeaderValue = HeaderValue::from_static("application/json");
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The request is invalid; the text says what is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No such record.
    #[error("there is no record {0}")]
    NoRecord(i64),
    /// No such route.
    #[error("there is no such route")]
    NoRoute,
    /// The route has no such method.
    #[error("the route does not have this method; see the Allow header")]
    MethodNotAllowed,
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    BodyTimeout,
    /// The client disconnected, so the answer cannot be read.
    #[error("the body broke off")]
    BodyBrokeOff,
    /// `If-Match` names another version.
    #[error("the record has version {current}")]
    VersionMismatch {
        /// The version that the record has.
        current: i64,
    },
    /// `If-Match`, and the record does not exist.
    #[error("nothing here has an entity tag that If-Match names")]
    NotMatched,
    /// `If-None-Match: *`, and there is already something.
    #[error("If-None-Match wants nothing to be here, and there is something")]
    Present,
    /// The body is too large.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The target is too long.
    #[error("the request target is longer than {limit} bytes")]
    UriTooLong {
        /// The limit.
        limit: usize,
    },
    /// The head is too large.
    #[error("the request head is larger than {limit} bytes")]
    HeadersTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The content type is not JSON.
    #[error("the content type must be application/json")]
    NotJson,
    /// JSON in a charset other than UTF-8.
    #[error("the charset must be UTF-8, which is the only one of JSON")]
    NotUtf8,
    /// A content coding that is not supported.
    #[error("the body must not have a Content-Encoding")]
    Encoded,
    /// The idempotency key was used with another body.
    #[error("this Idempotency-Key was used for a request with another body")]
    IdempotencyKeyReused,
    /// Over `MAX_RPS`.
    #[error("the replica takes no more requests this second")]
    RateLimited(#[from] RateLimited),
    /// Over `CONCURRENCY_LIMIT`.
    #[error("the replica has no place free for this request")]
    Overloaded(#[from] Overloaded),
    /// Over `REQUEST_TIMEOUT`.
    #[error("the request's deadline has passed")]
    DeadlineExceeded(#[from] DeadlineExceeded),
    /// The replica is shutting down.
    #[error("the replica is shutting down")]
    Draining,
    /// Postgres.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A fault of this service.
    #[error("the service failed")]
    Internal,
}

impl Error {
    /// Whether the database did not answer, so that an old entry is better than this error.
    pub(crate) fn is_of_the_database(&self) -> bool {
        match self {
            Self::Database(error) => *error != DatabaseError::Internal,
            Self::DeadlineExceeded(_) => true,
            _ => false,
        }
    }

    /// The answer.
    pub fn problem(&self) -> Problem {
        let code = match self {
            Self::Invalid(_) => Code::InvalidRequest,
            Self::NoRecord(_) | Self::NoRoute => Code::NotFound,
            Self::MethodNotAllowed => Code::MethodNotAllowed,
            Self::BodyTimeout => Code::RequestTimeout,
            Self::BodyBrokeOff => Code::ClientClosed,
            Self::VersionMismatch { .. } | Self::NotMatched | Self::Present => Code::PreconditionFailed,
            Self::BodyTooLarge { .. } => Code::PayloadTooLarge,
            Self::UriTooLong { .. } => Code::UriTooLong,
            Self::HeadersTooLarge { .. } => Code::HeadersTooLarge,
            Self::NotJson | Self::NotUtf8 | Self::Encoded => Code::UnsupportedMediaType,
            Self::IdempotencyKeyReused => Code::IdempotencyKeyReused,
            Self::RateLimited(_) => Code::RateLimited,
            Self::Overloaded(_) => Code::Overloaded,
            Self::DeadlineExceeded(_) => Code::DeadlineExceeded,
            Self::Draining => Code::Draining,
            Self::Internal => Code::Internal,
            Self::Database(error) => match error {
                DatabaseError::Unavailable => Code::DatabaseUnavailable,
                DatabaseError::NotAsked => Code::DatabaseNotAsked,
                DatabaseError::Busy => Code::DatabaseBusy,
                DatabaseError::Timeout => Code::DatabaseTimeout,
                DatabaseError::ReadOnly => Code::DatabaseReadOnly,
                DatabaseError::Full => Code::DatabaseFull,
                DatabaseError::Locked => Code::RecordLocked,
                DatabaseError::NoTime => Code::DeadlineExceeded,
                DatabaseError::Internal => Code::Internal,
            },
        };
        let mut problem = Problem::new(code, &self.to_string());
        match self {
            Self::Database(DatabaseError::Internal) => {}
            Self::Database(_) => problem.dependency = Some(POSTGRES),
            Self::RateLimited(limited) => problem.earliest_retry = Some(limited.retry_after.as_secs() + 1),
            // RFC 9110, 12.5.1, 12.5.3 and 15.5.16: what the service accepts.
            Self::NotJson | Self::NotUtf8 => problem.accepted = Some((header::ACCEPT, APPLICATION_JSON)),
            Self::Encoded => problem.accepted = Some((header::ACCEPT_ENCODING, IDENTITY)),
            Self::Invalid(_)
            | Self::NoRecord(_)
            | Self::NoRoute
            | Self::MethodNotAllowed
            | Self::BodyTimeout
            | Self::BodyBrokeOff
            | Self::VersionMismatch { .. }
            | Self::NotMatched
            | Self::Present
            | Self::BodyTooLarge { .. }
            | Self::UriTooLong { .. }
            | Self::HeadersTooLarge { .. }
            | Self::IdempotencyKeyReused
            | Self::Overloaded(_)
            | Self::DeadlineExceeded(_)
            | Self::Draining
            | Self::Internal => {}
        }
        problem
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}
