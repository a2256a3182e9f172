//! What both dependencies share: an optional breaker with its metric, and the durations of calls by outcome.

use std::{future::poll_fn, pin::pin, task::Poll, time::Duration};

use prometheus::{Histogram, IntCounter};
use resilience::{
    breaker::{Admitted, Breaker, BreakerConfig, BreakerOpen, BreakerState},
    retry::{RetryOutcome, RetryRefused},
};
use strum::{EnumCount, VariantArray};
use tokio::{
    task::unconstrained,
    time::{Instant, sleep},
};

use super::{CallOutcome, Verdict};
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

    /// Asks for permission to make a call; `Ok(None)` when there is no breaker.
    ///
    /// # Errors
    /// [`BreakerOpen`].
    pub fn admit(&self, now: Instant) -> Result<Option<Admitted<'_>>, BreakerOpen> {
        self.breaker.as_ref().map(|breaker| breaker.admit(now)).transpose()
    }

    /// Makes an open breaker half-open at once, because the dependency answers again.
    pub fn invite(&self) {
        if let Some(breaker) = &self.breaker {
            breaker.invite();
        }
    }

    /// The state of the breaker; closed when there is none.
    pub fn state(&self) -> BreakerState {
        self.breaker.as_ref().map_or(BreakerState::Closed, Breaker::state)
    }
}

/// Reports the result of a call to the breaker.
pub(super) fn settle(admitted: Option<Admitted<'_>>, verdict: Verdict) {
    match (admitted, verdict) {
        (Some(admitted), Verdict::Success) => admitted.succeed(),
        (Some(admitted), Verdict::Failure) => admitted.fail(Instant::now()),
        (Some(_), Verdict::Ignored) | (None, _) => {}
    }
}

/// Durations of one dependency's calls by outcome. Holds the child metrics, because looking them up is slow.
#[derive(Debug)]
pub(super) struct Durations([Histogram; CallOutcome::COUNT]);

impl Durations {
    pub(super) fn new(metrics: &Metrics, dependency: &str) -> Self {
        Self(std::array::from_fn(|i| {
            metrics.dependency_duration.with_label_values(&[dependency, CallOutcome::VARIANTS[i].into()])
        }))
    }

    pub(super) fn observe(&self, outcome: CallOutcome, duration: Duration) {
        self.0[outcome as usize].observe(duration.as_secs_f64());
    }
}

/// Retries by their result.
#[derive(Debug)]
pub(super) struct Retries {
    pub(super) succeeded: IntCounter,
    pub(super) failed: IntCounter,
    pub(super) not_sent: IntCounter,
    pub(super) refused_budget: IntCounter,
    pub(super) refused_deadline: IntCounter,
}

impl Retries {
    pub(super) fn new(metrics: &Metrics, dependency: &str) -> Self {
        let child = |outcome: &str| metrics.retries.with_label_values(&[dependency, outcome]);
        Self {
            succeeded: child("succeeded"),
            failed: child("failed"),
            not_sent: child("not_sent"),
            refused_budget: child("refused_budget"),
            refused_deadline: child("refused_deadline"),
        }
    }

    pub(super) fn count(&self, outcome: RetryOutcome) {
        match outcome {
            RetryOutcome::Succeeded => self.succeeded.inc(),
            RetryOutcome::Failed => self.failed.inc(),
            RetryOutcome::NotSent => self.not_sent.inc(),
            RetryOutcome::Refused(RetryRefused::Budget) => self.refused_budget.inc(),
            RetryOutcome::Refused(RetryRefused::Deadline) => self.refused_deadline.inc(),
            RetryOutcome::Refused(RetryRefused::Attempts) => {}
        }
    }
}

/// Runs `future` for at most `bound` (`None`: without limit). The timer is set when the future first has to wait: a future
/// that completes at once, such as taking an idle connection, costs none.
pub(super) async fn within<T>(bound: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    let Some(bound) = bound else { return Some(future.await) };
    let mut future = pin!(future);
    let mut timer = pin!(None);
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        if timer.is_none() {
            // Unconstrained: the timer fires also when the future uses up the task's budget each time.
            timer.set(Some(unconstrained(sleep(bound))));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(None),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_bound_holds_for_a_future_that_waits() {
        let start = Instant::now();
        let bound = Some(Duration::from_millis(40));
        assert_eq!(within(bound, std::future::ready(1)).await, Some(1));
        assert_eq!(within(Some(Duration::ZERO), std::future::ready(2)).await, Some(2));
        assert_eq!(within(bound, sleep(Duration::from_millis(39))).await, Some(()));
        assert_eq!(start.elapsed(), Duration::from_millis(39));
        assert_eq!(within(bound, std::future::pending::<()>()).await, None);
        assert_eq!(start.elapsed(), Duration::from_millis(79));
        assert_eq!(within(None, sleep(Duration::from_secs(60))).await, Some(()));
    }
}
