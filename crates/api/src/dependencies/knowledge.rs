//! What is known of a dependency: whether it answered last time, how fast, whether it takes writes, and who is told when
//! that changes.
//!
//! Each dependency has a task of its own that asks it twice a second and writes down what it saw here. `/health`,
//! `dependency_up` and `dependency_writable` only read it: asking them costs the dependency nothing.

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

/// For one probe, connecting included: well above what a busy dependency needs, well below the promise of 2 s.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// Between two looks, however many requests have trouble: each may be a connection.
const LEAST_GAP: Duration = Duration::from_millis(25);

/// The last observation of a dependency.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Whether it answered.
    pub up: bool,
    /// Whether it takes writes; not known to refuse them while it is down.
    pub writable: bool,
    /// How long the answer took.
    pub latency: Duration,
    /// When it was asked.
    pub at: SystemTime,
    /// Why it counts as down or read-only, in the words of a closed list.
    pub reason: &'static str,
}

/// The present knowledge of one dependency.
#[derive(Debug)]
pub struct Knowledge {
    dependency: &'static str,
    /// The truth; the gauges only show it.
    up: AtomicBool,
    writable: AtomicBool,
    up_gauge: IntGauge,
    writable_gauge: IntGauge,
    last: Mutex<Option<Observation>>,
    ask_now: Notify,
}

/// What a new observation changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It was not known to be up before, and is now.
    CameUp,
    /// It was not known to be down before, and is now.
    WentDown,
    /// As before.
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

    /// The last observation; none before the first probe has ended.
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

    /// A request had trouble: look now instead of at the next turn.
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
        // One that does not answer says nothing about writes.
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
