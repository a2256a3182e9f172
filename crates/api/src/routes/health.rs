//! `/livez`, `/readyz` and `/health`. The first two do not depend on Postgres or Redis, so that an outage of one of
//! them never makes every replica unready. The third reads the state that the probers recorded, so it causes no load on
//! the dependencies.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    dependencies::{knowledge::Observation, postgres::POSTGRES, redis::REDIS},
    error::Error,
    http::answer::NO_STORE,
    problem::{Code, OwnBody},
    state::AppState,
};

/// 200 while the process works.
pub(super) async fn get_livez() -> impl IntoResponse {
    ([(header::CACHE_CONTROL, NO_STORE)], "live\n")
}

/// 200 after the start, until the shutdown begins.
pub(super) async fn get_readyz(State(state): State<AppState>) -> Result<impl IntoResponse, Error> {
    if state.is_draining() { Err(Error::Draining) } else { Ok(([(header::CACHE_CONTROL, NO_STORE)], "ready\n")) }
}

/// The state of the service and its dependencies (draft-inadarei-api-health-check-06). Without Redis the service works,
/// but slower: `warn`, also when a dependency refuses writes. Without Postgres it can answer only from the cache:
/// `fail`.
pub(super) async fn get_health(State(state): State<AppState>) -> Response {
    let settled = state.redis.is_settled();
    let redis = state.redis.knowledge().last().map(|seen| match seen.up && seen.writable && !settled {
        // Redis answers, but its entries are not read yet.
        true => Observation { writable: false, reason: "settling", ..seen },
        false => seen,
    });
    let postgres = state.postgres.knowledge().last();
    let is = |observation: &Option<Observation>, what: fn(&Observation) -> bool| observation.as_ref().is_some_and(what);
    let all_take_writes = [&redis, &postgres].into_iter().all(|seen| is(seen, |seen| seen.up && seen.writable));
    let (status, code) = match (is(&postgres, |seen| seen.up), all_take_writes) {
        (false, _) => ("fail", StatusCode::SERVICE_UNAVAILABLE),
        (true, false) => ("warn", StatusCode::OK),
        (true, true) => ("pass", StatusCode::OK),
    };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "serviceId": state.instance(),
        "description": "phase-observation API",
        "checks": {
            "postgres:responseTime": [check(POSTGRES, postgres.as_ref(), "fail")],
            "redis:responseTime": [check(REDIS, redis.as_ref(), "warn")],
        }
    });
    let mut response = (code, body.to_string()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/health+json"));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    if code == StatusCode::SERVICE_UNAVAILABLE {
        response.extensions_mut().insert(OwnBody(Code::DatabaseUnavailable));
    }
    response
}

fn check(dependency: &str, seen: Option<&Observation>, when_down: &str) -> Value {
    let Some(seen) = seen else {
        return json!({ "componentId": dependency, "componentType": "datastore", "status": when_down, "output": "not asked yet" });
    };
    let at = OffsetDateTime::from(seen.at).format(&Rfc3339).unwrap_or_default();
    let mut check = json!({
        "componentId": dependency,
        "componentType": "datastore",
        "observedValue": (seen.latency.as_secs_f64() * 1e6).round() / 1e3,
        "observedUnit": "ms",
        "status": match (seen.up, seen.writable) {
            (false, _) => when_down,
            (true, false) => "warn",
            (true, true) => "pass",
        },
        "time": at,
    });
    if !seen.reason.is_empty() {
        check["output"] = Value::from(seen.reason);
    }
    check
}
