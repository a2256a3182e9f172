//! The limits in front of `/data`: requests per second, then requests in flight. Each refusal has a counter of its own.

use axum::{extract::FromRequestParts, http::request::Parts};
use resilience::admission;
use tokio::time::Instant;

use crate::{error::Error, state::AppState};

/// A handler that takes this runs within the limits. Held until the answer is made, or until the client hangs up and the
/// handler's future is dropped. All routes of `/data` share the places.
#[derive(Debug)]
pub struct Place(#[expect(dead_code, reason = "held for its drop")] Option<admission::Place>);

impl FromRequestParts<AppState> for Place {
    type Rejection = Error;

    async fn from_request_parts(_parts: &mut Parts, state: &AppState) -> Result<Self, Error> {
        if let Some(limit) = &state.rate_limit {
            limit.try_take(Instant::now()).inspect_err(|_| shed(state, "rate_limited"))?;
        }
        let Some(limit) = &state.admission else {
            return Ok(Self(None));
        };
        let place = limit.try_admit().inspect_err(|_| shed(state, "overloaded"))?;
        Ok(Self(Some(place)))
    }
}

fn shed(state: &AppState, reason: &str) {
    state.metrics.requests_shed.with_label_values(&[reason]).inc();
}
