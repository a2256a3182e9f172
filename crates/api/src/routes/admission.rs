//! The limits in front of `/data`: requests per second, then requests in flight. Each refusal has a counter of its
//! own.

use std::time::Duration;

use axum::{extract::FromRequestParts, http::request::Parts};
use resilience::{
    adaptive::{AdaptiveConfig, AdaptiveLimit, AdaptivePlace},
    admission::{self, AdmissionLimit, Overloaded},
};
use time::OffsetDateTime;
use tokio::time::Instant;

use crate::{config::Concurrency, error::Error, http::receipt, state::AppState};

/// `CONCURRENCY_LIMIT=auto`: ten requests keep one thread and its dependencies busy, 100 is the fixed limit's default, and
/// beyond 1,000 the connections end (`MAX_CONNECTIONS`). 100 ms of waiting leave 200 ms of the 300 ms of a request.
const AUTO: AdaptiveConfig = AdaptiveConfig { least: 10, first: 100, most: 1_000, target: Duration::from_millis(100) };

/// `CONCURRENCY_LIMIT`.
#[derive(Debug)]
pub enum Admission {
    /// A number.
    Fixed(AdmissionLimit),
    /// `auto`.
    Adaptive(AdaptiveLimit),
}

/// One of its places.
#[derive(Debug)]
enum Taken {
    Fixed(#[expect(dead_code, reason = "held for its drop")] admission::Place),
    Adaptive(#[expect(dead_code, reason = "held for its drop")] AdaptivePlace),
}

impl Admission {
    /// The limit of the configuration.
    pub fn new(concurrency: Concurrency) -> Self {
        match concurrency {
            Concurrency::Fixed(limit) => Self::Fixed(AdmissionLimit::new(limit)),
            Concurrency::Auto => Self::Adaptive(AdaptiveLimit::new(AUTO)),
        }
    }

    /// How many places are taken now.
    pub fn in_flight(&self) -> usize {
        match self {
            Self::Fixed(limit) => limit.in_flight(),
            Self::Adaptive(limit) => limit.in_flight(),
        }
    }

    /// How many places there are now.
    pub fn limit(&self) -> usize {
        match self {
            Self::Fixed(limit) => limit.limit(),
            Self::Adaptive(limit) => limit.limit(),
        }
    }

    /// `waited` is only worked out where the limit follows it.
    fn try_admit(&self, waited: impl FnOnce() -> Option<Duration>) -> Result<Taken, Overloaded> {
        match self {
            Self::Fixed(limit) => limit.try_admit().map(Taken::Fixed),
            Self::Adaptive(limit) => limit.try_admit(Instant::now(), waited()).map(Taken::Adaptive),
        }
    }
}

/// A handler that takes this runs within the limits. Held until the answer is made, or until the client hangs up and the
/// handler's future is dropped. All routes of `/data` share the places.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] Option<Taken>);

impl FromRequestParts<AppState> for Place {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        if let Some(limit) = &state.rate_limit {
            limit.try_take(Instant::now()).inspect_err(|_| shed(state, "rate_limited"))?;
        }
        let Some(limit) = &state.admission else {
            return Ok(Self(None));
        };
        let taken = limit.try_admit(|| waited(parts, state)).inspect_err(|_| shed(state, "overloaded"))?;
        Ok(Self(Some(taken)))
    }
}

/// How long the request has waited since nginx sent it: in the socket of a replica that did not run. `None`: time-outs are
/// off, or nginx is not in front. A request is not refused for it: nginx writes the time once, so the copy that it sends to
/// another replica after the first one did not answer looks old.
fn waited(parts: &Parts, state: &AppState) -> Option<Duration> {
    state.config.limits.request_timeout?;
    let sent = receipt::sent_at(&parts.headers)?;
    let age = (OffsetDateTime::now_utc() - sent).whole_microseconds();
    Some(state.waiting.observe(Instant::now(), i64::try_from(age).ok()?))
}

fn shed(state: &AppState, reason: &str) {
    state.metrics.requests_shed.with_label_values(&[reason]).inc();
}
