//! The limits in front of `/data`: requests per second, then requests in flight. Each refusal has a counter of its
//! own.

use std::time::Duration;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use resilience::{
    adaptive::{AdaptiveConfig, AdaptiveLimit, AdaptivePlace},
    admission::{self, AdmissionLimit, Overloaded},
};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{config::Concurrency, error::Error, http::receipt, state::AppState};

/// The bounds of `CONCURRENCY_LIMIT=auto`. Ten requests keep one thread and its dependencies busy, 100 is the default
/// of the fixed limit, and 1,000 is the limit of connections (`MAX_CONNECTIONS`). A wait of 100 ms leaves 200 ms of a
/// request's 300 ms.
const AUTO: AdaptiveConfig = AdaptiveConfig { least: 10, first: 100, most: 1_000, target: Duration::from_millis(100) };

/// `CONCURRENCY_LIMIT`.
#[derive(Debug)]
pub enum Admission {
    /// A fixed number.
    Fixed(AdmissionLimit),
    /// `auto`.
    Adaptive(AdaptiveLimit),
}

/// A place within the limit.
#[derive(Debug)]
enum Taken {
    Fixed(#[expect(dead_code, reason = "held for its drop")] admission::Place),
    Adaptive(#[expect(dead_code, reason = "held for its drop")] AdaptivePlace),
}

impl Admission {
    /// The configured limit.
    pub fn new(concurrency: Concurrency) -> Self {
        match concurrency {
            Concurrency::Fixed(limit) => Self::Fixed(AdmissionLimit::new(limit)),
            Concurrency::Auto => Self::Adaptive(AdaptiveLimit::new(AUTO)),
        }
    }

    /// The number of places in use.
    pub fn in_flight(&self) -> usize {
        match self {
            Self::Fixed(limit) => limit.in_flight(),
            Self::Adaptive(limit) => limit.in_flight(),
        }
    }

    /// The current number of places.
    pub fn limit(&self) -> usize {
        match self {
            Self::Fixed(limit) => limit.limit(),
            Self::Adaptive(limit) => limit.limit(),
        }
    }

    /// `waited` is only evaluated if the limit uses it.
    fn try_admit(&self, waited: impl FnOnce() -> Option<Duration>) -> Result<Taken, Overloaded> {
        match self {
            Self::Fixed(limit) => limit.try_admit().map(Taken::Fixed),
            Self::Adaptive(limit) => limit.try_admit(Instant::now(), waited()).map(Taken::Adaptive),
        }
    }
}

/// A handler that takes this argument runs within the limits. The place is held until the answer is complete, or until
/// the client disconnects and the handler's future is dropped. All routes of `/data` share the places.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] Option<Taken>);

impl FromRequestParts<AppState> for Place {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        Self::take(&parts.headers, state)
    }
}

impl Place {
    /// Takes a place for a request with these headers.
    ///
    /// # Errors
    /// A limit is reached.
    pub(super) fn take(headers: &HeaderMap, state: &AppState) -> Result<Self, Error> {
        state.pulse.request();
        if let Some(limit) = &state.rate_limit {
            limit.try_take(Instant::now()).inspect_err(|_| shed(state, "rate_limited"))?;
        }
        let Some(limit) = &state.admission else {
            return Ok(Self(None));
        };
        let taken = limit.try_admit(|| waited(headers, state)).inspect_err(|_| shed(state, "overloaded"))?;
        Ok(Self(Some(taken)))
    }
}

/// How long the request has waited since nginx sent it, for example in the socket of a paused replica. `None`:
/// time-outs are off, or the request did not come through nginx. A request is not refused for its waiting time: nginx
/// sets the time only once, so the copy that it sends to another replica looks old.
fn waited(headers: &HeaderMap, state: &AppState) -> Option<Duration> {
    state.config.limits.request_timeout?;
    let sent = receipt::sent_at(headers)?;
    let age = (OffsetDateTime::now_utc() - sent).whole_microseconds();
    Some(state.waiting.observe(Instant::now(), i64::try_from(age).ok()?))
}

fn shed(state: &AppState, reason: &str) {
    state.metrics.requests_shed.with_label_values(&[reason]).inc();
}
