//! One log line per request: a message and fields, no bodies, no secrets.

use std::time::Duration;

use axum::http::{Method, Uri};

use super::route::Route;
use crate::{metrics::requests::Outcome, records::answer::Observed};

/// Paths come from outside: what is longer is cut in the log.
const MAX_PATH: usize = 256;

/// What is known of a request at its beginning.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) method: Method,
    pub(super) route: Route,
    uri: Uri,
}

impl Line {
    pub(super) fn new(method: Method, route: Route, uri: &Uri) -> Self {
        Self { method, route, uri: uri.clone() }
    }

    pub(super) fn write(&self, instance: &str, id: &str, outcome: Outcome, duration: Duration, seen: Option<Observed>) {
        let path = self.uri.path();
        let path = path.get(..MAX_PATH).unwrap_or(path);
        let seen = seen.unwrap_or_default();
        // Microseconds are as exact as it gets.
        let milliseconds = |duration: Duration| duration.as_micros() as f64 / 1e3;
        tracing::info!(
            target: "access",
            request_id = id,
            instance,
            method = self.method.as_str(),
            route = self.route.as_str(),
            path,
            status = outcome.status(),
            code = outcome.code(),
            cache = seen.cache.map_or("", |cache| cache.as_str()),
            duration_ms = milliseconds(duration),
            redis_ms = seen.redis.map(milliseconds),
            db_ms = seen.database.map(milliseconds),
            "request"
        );
    }
}
