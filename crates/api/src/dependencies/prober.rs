//! What is known of a dependency: whether it answered last time, how fast, and who is told when that changes.
//!
//! Each dependency has a task of its own that asks it twice a second, over a connection of its own, and writes down what
//! it saw here. `/health` and `dependency_up` only read it: asking them costs the dependency nothing.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use prometheus::IntGauge;
use tokio::sync::Notify;

use crate::metrics::Metrics;

/// For one probe, connecting included: well above what a busy dependency needs, well below the promise of 2 s.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_millis(250);

/// The last observation of a dependency.
#[derive(Debug, Clone)]
pub struct Observation {
    /// Whether it answered.
    pub up: bool,
    /// How long the answer took.
    pub latency: Duration,
    /// When it was asked.
    pub at: SystemTime,
    /// Why it counts as down, in the words of a closed list.
    pub reason: &'static str,
}

/// The present knowledge of one dependency.
#[derive(Debug)]
pub struct Knowledge {
    dependency: &'static str,
    gauge: IntGauge,
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
        let gauge = metrics.dependency_up.with_label_values(&[dependency]);
        Self { dependency, gauge, last: Mutex::new(None), ask_now: Notify::new() }
    }

    /// The last observation; none before the first probe has ended.
    pub fn last(&self) -> Option<Observation> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it answered last time.
    pub fn is_up(&self) -> bool {
        self.gauge.get() == 1
    }

    /// A request had trouble: look now instead of at the next turn.
    pub fn suspect(&self) {
        self.ask_now.notify_one();
    }

    /// Waits until the next probe is due.
    pub(super) async fn next_turn(&self, interval: Duration) {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = self.ask_now.notified() => {}
        }
    }

    pub(super) fn record(&self, up: bool, latency: Duration, reason: &'static str) -> Change {
        let observation = Observation { up, latency, at: SystemTime::now(), reason };
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(observation);
        self.gauge.set(i64::from(up));
        let dependency = self.dependency;
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
