//! The limits in front of `/data`: requests per second, then requests in flight. Each refusal has a counter of its own.

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tokio::time::Instant;

use crate::{error::Error, state::AppState};

pub(super) async fn admit(State(state): State<AppState>, request: Request, next: Next) -> Response {
    if let Some(limit) = state.rate_limit()
        && let Err(limited) = limit.try_take(Instant::now())
    {
        state.metrics().requests_shed.with_label_values(&["rate_limited"]).inc();
        return Error::RateLimited(limited).into_response();
    }
    // Held until the answer is made, or until the client hangs up and this future is dropped.
    let _place = match state.admission().map(resilience::admission::AdmissionLimit::try_admit) {
        Some(Ok(place)) => Some(place),
        Some(Err(overloaded)) => {
            state.metrics().requests_shed.with_label_values(&["overloaded"]).inc();
            return Error::Overloaded(overloaded).into_response();
        }
        None => None,
    };
    next.run(request).await
}
