//! What both dependencies share: an optional breaker that is counted, and the durations of calls.

use std::time::Duration;

use prometheus::Histogram;
use resilience::breaker::{Admitted, Breaker, BreakerConfig, BreakerOpen, BreakerState};
use tokio::time::Instant;

use crate::metrics::Metrics;

/// The breaker of one dependency, or none when `BREAKERS` is off.
#[derive(Debug)]
pub struct Guard {
    breaker: Option<Breaker>,
}

impl Guard {
    /// A closed breaker that reports its state as a metric and a log line.
    pub fn new(dependency: &'static str, config: Option<BreakerConfig>, metrics: &Metrics) -> Self {
        let gauge = metrics.breaker_state.with_label_values(&[dependency]);
        let breaker = config.map(|config| {
            let on_transition = move |state: BreakerState| {
                gauge.set(state as i64);
                tracing::warn!(dependency, state = ?state, "circuit breaker");
            };
            Breaker::new(config, Instant::now(), Box::new(on_transition))
        });
        Self { breaker }
    }

    /// Asks to make a call; `Ok(None)` when there is no breaker.
    ///
    /// # Errors
    /// [`BreakerOpen`].
    pub fn admit(&self, now: Instant) -> Result<Option<Admitted<'_>>, BreakerOpen> {
        self.breaker.as_ref().map(|breaker| breaker.admit(now)).transpose()
    }

    /// The dependency answers again: do not wait any longer.
    pub fn invite(&self) {
        if let Some(breaker) = &self.breaker {
            breaker.invite();
        }
    }

    /// Where the breaker stands; closed when there is none.
    pub fn state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }
}

/// What a call came to, for the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The dependency answered.
    Answered,
    /// The dependency did not do its part.
    Failed,
    /// It says nothing about the dependency.
    Silent,
}

pub(super) fn settle(admitted: Option<Admitted<'_>>, verdict: Verdict) {
    match (admitted, verdict) {
        (Some(admitted), Verdict::Answered) => admitted.succeed(),
        (Some(admitted), Verdict::Failed) => admitted.fail(Instant::now()),
        (Some(_), Verdict::Silent) | (None, _) => {}
    }
}

/// Durations of one dependency's calls by outcome, the children kept: looking them up is slow.
#[derive(Debug)]
pub(super) struct Durations {
    pub(super) ok: Histogram,
    pub(super) timeout: Histogram,
    pub(super) error: Histogram,
    pub(super) breaker_open: Histogram,
}

impl Durations {
    pub(super) fn new(metrics: &Metrics, dependency: &str) -> Self {
        let child = |outcome: &str| metrics.dependency_duration.with_label_values(&[dependency, outcome]);
        Self { ok: child("ok"), timeout: child("timeout"), error: child("error"), breaker_open: child("breaker_open") }
    }
}

/// Runs `future` for at most `bound` (`None`: without end).
pub(super) async fn within<T>(bound: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match bound {
        Some(bound) => tokio::time::timeout(bound, future).await.ok(),
        None => Some(future.await),
    }
}
