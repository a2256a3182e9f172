//! What every request can reach: one handle, cheap to clone, no globals.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::http::HeaderValue;
use resilience::{admission::AdmissionLimit, rate_limit::RateLimit};

use crate::{
    border::access_log::AccessLog,
    config::Config,
    dependencies::{postgres::Postgres, redis::Redis},
    metrics::{Metrics, requests::RequestMetrics},
    records::{reads::Reads, writes::Writes},
};

/// The handle.
#[derive(Debug, Clone)]
pub struct AppState(Arc<Inner>);

/// What the handle leads to; built in `startup`.
#[derive(Debug)]
pub struct Inner {
    /// As it was read at the start.
    pub config: Config,
    /// `X-Instance`.
    pub instance_header: HeaderValue,
    /// All metrics.
    pub metrics: Metrics,
    /// The table of per-request metrics.
    pub request_metrics: RequestMetrics,
    /// `ACCESS_LOG`.
    pub access_log: Option<AccessLog>,
    /// Behind its guards.
    pub redis: Redis,
    /// Behind its guards.
    pub postgres: Postgres,
    /// The read path.
    pub reads: Reads,
    /// The write path.
    pub writes: Writes,
    /// `CONCURRENCY_LIMIT`.
    pub admission: Option<AdmissionLimit>,
    /// `MAX_RPS`.
    pub rate_limit: Option<RateLimit>,
    /// Set when the process is on its way out.
    pub draining: AtomicBool,
}

impl AppState {
    /// Wraps what `startup` has built.
    pub fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The name of this replica.
    pub fn instance(&self) -> &str {
        &self.0.config.server.instance
    }

    pub(crate) fn instance_header(&self) -> &HeaderValue {
        &self.0.instance_header
    }

    /// All metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn request_metrics(&self) -> &RequestMetrics {
        &self.0.request_metrics
    }

    pub(crate) fn access_log(&self) -> Option<&AccessLog> {
        self.0.access_log.as_ref()
    }

    /// Redis.
    pub fn redis(&self) -> &Redis {
        &self.0.redis
    }

    /// Postgres.
    pub fn postgres(&self) -> &Postgres {
        &self.0.postgres
    }

    /// The read path.
    pub fn reads(&self) -> &Reads {
        &self.0.reads
    }

    /// The write path.
    pub fn writes(&self) -> &Writes {
        &self.0.writes
    }

    /// `CONCURRENCY_LIMIT`.
    pub fn admission(&self) -> Option<&AdmissionLimit> {
        self.0.admission.as_ref()
    }

    pub(crate) fn rate_limit(&self) -> Option<&RateLimit> {
        self.0.rate_limit.as_ref()
    }

    /// Whether the process is on its way out.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }

    /// The process is on its way out: not ready any more, and each answer ends its connection.
    pub fn start_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }
}
