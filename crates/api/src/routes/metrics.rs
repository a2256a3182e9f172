//! `/metrics`: what Prometheus scrapes. Gauges of current state are read at the scrape.
//!
//! Prometheus sets the target's name itself if it knows it. With DNS discovery it knows only addresses; then
//! `/metrics?labels=instance` adds the replica's own name to every series.

use axum::{
    extract::{RawQuery, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::{
    dependencies::{postgres::POSTGRES, redis::REDIS},
    error::Error,
    http::answer::NO_STORE,
    state::AppState,
};

pub(super) async fn get_metrics(State(state): State<AppState>, RawQuery(query): RawQuery) -> Result<Response, Error> {
    read_states(&state);
    let instance = (query.as_deref() == Some("labels=instance")).then(|| state.instance());
    let text = state.metrics.encode(instance).map_err(|error| {
        tracing::error!(error = %error, "metrics cannot be written");
        Error::Internal
    })?;
    let mut response = text.into_response();
    let text_format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, text_format);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

fn read_states(state: &AppState) {
    let metrics = &state.metrics;
    let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let admission = state.admission.as_ref();
    metrics.admission_in_flight.set(number(admission.map_or(0, super::admission::Admission::in_flight)));
    metrics.admission_limit.set(number(admission.map_or(0, super::admission::Admission::limit)));
    let (idle, in_use) = state.postgres.connections();
    metrics.pool_connections.with_label_values(&[POSTGRES, "idle"]).set(number(idle));
    metrics.pool_connections.with_label_values(&[POSTGRES, "in_use"]).set(number(in_use));
    let (entries, bytes) = state.records.near_size();
    metrics.near_cache_entries.set(number(entries));
    metrics.near_cache_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    let redis = i64::from(state.redis.is_connected());
    metrics.pool_connections.with_label_values(&[REDIS, "in_use"]).set(redis);
}
