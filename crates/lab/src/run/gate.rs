//! Checks that everything is healthy, before a fault and after its undo.

use std::time::Duration;

use stack::{Endpoints, Operation, Stack, StackError};

use crate::{experiment::Gate, metrics, prober};

/// The interval of checks.
const EVERY: Duration = Duration::from_millis(20);
/// The required success rate before anything is broken.
const STEADY: f64 = 0.99;

/// Waits until everything is healthy. Returns the problems if it does not become so.
pub(super) fn wait(
    stack: &Stack,
    gate: Gate,
    within: Duration,
    operation: &Operation<'_>,
) -> Result<Result<String, String>, StackError> {
    let end = std::time::Instant::now() + within;
    loop {
        let endpoints = stack.endpoints()?;
        let trouble = match gate {
            Gate::Steady => trouble(&endpoints),
            Gate::Up => endpoints.replicas.iter().find_map(|replica| silence(&replica.url)),
        };
        match trouble {
            None => return Ok(Ok(format!("{} replicas are well", endpoints.replicas.len()))),
            Some(why) if std::time::Instant::now() > end => return Ok(Err(why)),
            Some(_) => {}
        }
        operation.interrupt.check()?;
        operation.interrupt.sleep(EVERY);
    }
}

fn silence(url: &str) -> Option<String> {
    let answer = prober::ask(Some(url), "GET", "/readyz", None);
    (answer.status != 200).then(|| format!("{url}/readyz: {answer}"))
}

/// The problems of all replicas.
fn trouble(endpoints: &Endpoints) -> Option<String> {
    endpoints.replicas.iter().find_map(|replica| {
        let name = replica.name;
        // A good call closes a breaker, so the request uses an id that is in no cache.
        let read = prober::ask(Some(&replica.url), "GET", "/data/{new}", None);
        if read.status != 404 {
            return Some(format!("{name} does not reach Postgres: {read}"));
        }
        let health = prober::ask(Some(&replica.url), "GET", "/health", None);
        if health.status != 200 {
            return Some(format!("{name}/health: {health}"));
        }
        let open = |dependency| {
            let series = format!("breaker_state{{dependency=\"{dependency}\"}}");
            metrics::value(&replica.metrics_url(), &series).is_some_and(|state| state != 0.0)
        };
        let dependency = ["redis", "postgres"].into_iter().find(|dependency| open(*dependency))?;
        Some(format!("{name}'s breaker for {dependency} is not closed"))
    })
}

/// Whether the load has had good answers before the first step. `None`: no answer yet.
pub(super) fn judge(good: u64, bad: u64) -> Option<Result<String, String>> {
    let all = good + bad;
    let share = good as f64 / all.max(1) as f64;
    let text = format!("{good} of {all} answers were good");
    (all > 0).then_some(if share >= STEADY { Ok(text) } else { Err(text) })
}
