//! The last known state of a dependency: whether it answered, how fast, and whether it takes writes.
//!
//! Each dependency has a task that probes it twice a second and stores the observation here. `/health`, `dependency_up`
//! and `dependency_writable` only read this state, so they cause no load on the dependency.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// The time limit of one probe, including connecting: well above what a busy dependency needs, and well below the 2 s
/// within which the service must have recovered.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// The shortest time between two probes, however many requests fail, because each probe may open a connection.
const LEAST_GAP: Duration = Duration::from_millis(25);

/// The last observation of a dependency.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Whether it answered.
    pub up: bool,
    /// Whether it takes writes; true while it is down, because it is not known to refuse them.
    pub writable: bool,
    /// How long the answer took.
    pub latency: Duration,
    /// When it was probed.
    pub at: SystemTime,
    /// Why the dependency counts as down or read-only: one of a closed list of words.
    pub reason: &'static str,
}

/// The last known state of one dependency.
#[derive(Debug)]
pub struct Knowledge {
    dependency: &'static str,
    /// The state itself; the gauges only display it.
    up: AtomicBool,
    writable: AtomicBool,
    up_gauge: IntGauge,
    writable_gauge: IntGauge,
    last: Mutex<Option<Observation>>,
    ask_now: Notify,
}

/// The change that a new observation made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is up, and was not known to be up before.
    CameUp,
    /// It is down, and was not known to be down before.
    WentDown,
    /// No change.
    None,
}

impl Knowledge {
    pub(super) fn new(dependency: &'static str, metrics: &Metrics) -> Self {
        let writable_gauge = metrics.dependency_writable.with_label_values(&[dependency]);
        writable_gauge.set(1);
        Self {
            dependency,
            up: AtomicBool::new(false),
            writable: AtomicBool::new(true),
            up_gauge: metrics.dependency_up.with_label_values(&[dependency]),
            writable_gauge,
            last: Mutex::new(None),
            ask_now: Notify::new(),
        }
    }

    /// The last observation; `None` before the first probe has ended.
    pub fn last(&self) -> Option<Observation> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it answered last time.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether it took a write last time.
    pub fn is_writable(&self) -> bool {
        self.writable.load(Ordering::Relaxed)
    }

    /// Requests a probe now instead of after the interval, because a request has failed.
    pub fn suspect(&self) {
        self.ask_now.notify_one();
    }

    /// Waits until the next probe is due.
    pub(super) async fn next_turn(&self, interval: Duration) {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = self.ask_now.notified() => tokio::time::sleep(LEAST_GAP).await,
        }
    }

    pub(super) fn record(&self, observation: Observation) -> Change {
        let Observation { up, writable, reason, .. } = observation;
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(observation);
        self.up.store(up, Ordering::Relaxed);
        self.up_gauge.set(i64::from(up));
        let dependency = self.dependency;
        // A dependency that does not answer reveals nothing about writes.
        if up && self.writable.swap(writable, Ordering::Relaxed) != writable {
            self.writable_gauge.set(i64::from(writable));
            match writable {
                true => tracing::info!(dependency, "dependency takes writes again"),
                false => tracing::warn!(dependency, reason, "dependency refuses writes"),
            }
        }
        match (before.map(|before| before.up), up) {
            (Some(true), true) | (Some(false), false) => Change::None,
            (_, true) => {
                tracing::info!(dependency, "dependency is up");
                Change::CameUp
            }
            (_, false) => {
                tracing::warn!(dependency, reason, "dependency is down");
                Change::WentDown
            }
        }
    }
}

impl Observation {
    /// It answered, and takes writes.
    pub(super) fn up(latency: Duration) -> Self {
        Self { up: true, writable: true, latency, at: SystemTime::now(), reason: "" }
    }

    /// It answered, and refuses writes.
    pub(super) fn read_only(latency: Duration, reason: &'static str) -> Self {
        Self { writable: false, reason, ..Self::up(latency) }
    }

    /// It did not answer.
    pub(super) fn down(latency: Duration, reason: &'static str) -> Self {
        Self { up: false, reason, ..Self::up(latency) }
    }
}
