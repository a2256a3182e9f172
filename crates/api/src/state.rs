//! The state that every request can access: one handle, cheap to clone, no globals.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::http::HeaderValue;
use resilience::{rate_limit::RateLimit, waiting::Waiting};

use crate::{
    cache::records::RecordCache,
    config::Config,
    dependencies::{postgres::Postgres, pulse::Pulse, redis::Redis},
    metrics::{Metrics, requests::RequestMetrics},
    middleware::access_log::AccessLog,
    records::{reads::Reads, writes::Writes},
    routes::admission::Admission,
};

/// The handle that every request gets.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Parts>);

/// The shared state; built in `startup`.
#[derive(Debug)]
pub struct Parts {
    /// The configuration as read at the start.
    pub config: Config,
    /// `X-Instance`.
    pub instance_header: HeaderValue,
    /// All metrics.
    pub metrics: Metrics,
    /// The table of per-request metrics.
    pub request_metrics: RequestMetrics,
    /// `ACCESS_LOG`.
    pub access_log: Option<AccessLog>,
    /// Postgres, behind its guards.
    pub redis: Redis,
    /// Redis, behind its guards.
    pub postgres: Postgres,
    /// The cache of records.
    pub records: RecordCache,
    /// The read path.
    pub reads: Reads,
    /// The write path.
    pub writes: Writes,
    /// `CONCURRENCY_LIMIT`.
    pub admission: Option<Admission>,
    /// How long requests wait before they begin.
    pub waiting: Waiting,
    /// Keeps the time-outs of calls cheap.
    pub pulse: Pulse,
    /// `MAX_RPS`.
    pub rate_limit: Option<RateLimit>,
    /// Set when the process is shutting down.
    pub draining: AtomicBool,
}

impl AppState {
    /// Wraps what `startup` has built.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The name of this replica.
    pub fn instance(&self) -> &str {
        &self.config.server.instance
    }

    /// Whether the process is shutting down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Marks the process as shutting down: it is no longer ready, and each answer closes its connection.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl Deref for AppState {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
