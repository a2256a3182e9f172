//! The load of a running arm: its points as they arrive, its report at the end, and single requests for a scatter plot.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use loadgen::{LoadError, Plan, Point, RawRecord, RawSink, Report, Running};
use tokio::runtime::Runtime;

use crate::journal::Requests;

/// Time limit for the server to accept the first connection.
const REACH: Duration = Duration::from_secs(2);
/// How soon a stop takes effect.
const LOOK: Duration = Duration::from_millis(20);
/// The number of points in one picture; more would fill the area.
const MOST_SAMPLED: usize = 1_500;
const MOST_BAD: usize = 3_000;
/// The share of requests that counts as the slowest.
const SLOWEST: f64 = 0.01;

/// A load in progress.
pub(super) struct Driven {
    runtime: Runtime,
    running: Running,
    requests: Arc<Mutex<Vec<RawRecord>>>,
}

/// Starts it; the first request is due within some milliseconds.
pub(super) fn start(plan: Plan) -> Result<Driven, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| LoadError::System { what: "start a runtime", source })?;
    let addresses = plan.target.reach(REACH)?;
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    let sink: RawSink =
        Box::new(move |ended| kept.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(ended));
    let running = loadgen::start_keeping(plan, addresses, Some(sink))?;
    Ok(Driven { runtime, running, requests })
}

impl Driven {
    /// Waits for its end, or ends it early when `stop` is set.
    pub(super) fn watch(
        mut self,
        mut seen: impl FnMut(Point),
        stop: impl Fn() -> bool,
    ) -> Result<(Report, Requests), LoadError> {
        let stopper = self.running.stopper();
        let report = self.runtime.block_on(async {
            loop {
                tokio::select! {
                    point = self.running.next_point() => match point {
                        Some(point) => seen(point),
                        None => break,
                    },
                    () = tokio::time::sleep(LOOK) => if stop() {
                        stopper.cancel();
                    },
                }
            }
            self.running.report().await
        })?;
        let requests = self.requests.lock().map(|mut all| std::mem::take(&mut *all)).unwrap_or_default();
        Ok((report, choose(requests)))
    }
}

/// All failures, the slowest requests, and a sample of the rest.
fn choose(mut all: Vec<RawRecord>) -> Requests {
    let point = |record: &RawRecord| {
        let latency = record.ended.saturating_sub(record.planned);
        (record.planned.as_secs_f32(), latency.as_secs_f32() * 1e3, record.end.unwrap_or(0))
    };
    all.sort_unstable_by_key(|record| record.ended.saturating_sub(record.planned));
    let (good, bad): (Vec<_>, Vec<_>) = all.iter().partition(|record| record.is_good);
    let slowest = ((good.len() as f64 * SLOWEST).ceil() as usize).min(MOST_SAMPLED);
    let (rest, slow) = good.split_at(good.len() - slowest);
    let one_of = rest.len().div_ceil(MOST_SAMPLED).max(1);
    let every_bad = bad.len().div_ceil(MOST_BAD).max(1);
    let kept_bad: Vec<_> = bad.iter().step_by(every_bad).copied().map(point).collect();
    Requests {
        bad_left_out: (bad.len() - kept_bad.len()) as u64,
        bad: kept_bad,
        slow: slow.iter().copied().map(point).collect(),
        // Sorted by latency, so every n-th request has the distribution of all.
        sample: rest.iter().step_by(one_of).copied().map(point).collect(),
        one_of: one_of as u32,
    }
}
