//! The load panel: the load generator in open loop, in this process. Latency counts from the planned time of a request, and
//! what a stalled stack does not take is seen as late.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use loadgen::{Arrivals, Curve, Ids, Load, LoadError, Pick, Plan, Point, RequestSpec, Running, Stopper, Target};
use stack::{Session, StackError};

/// A steady rate ends by itself: a page that was forgotten does not load a machine for ever.
const LONGEST: Duration = Duration::from_secs(3_600);
/// More than two cores answer; above it the generator would measure itself.
const HIGHEST_RATE: f64 = 20_000.0;
const REACH: Duration = Duration::from_secs(1);
/// The demo records of the database.
const RECORDS: std::ops::RangeInclusive<u64> = 1..=1_000;

/// The day of the incident lesson in two minutes: 260 users in the small hours, 1,900 in the evening, a read every 5 s each.
pub(super) const DAY: &str = "52:20s,52..236:25s,236..230:10s,230..380:20s,380:10s,380..84:25s,84..52:10s";

/// What the panel asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Order {
    Off,
    Steady(f64),
    Curve(String),
}

impl Order {
    fn curve(&self) -> Result<Option<Curve>, StackError> {
        let usage = |error: String| StackError::Usage(format!("the load: {error}"));
        let curve = match self {
            Self::Off => return Ok(None),
            Self::Steady(rate) => Curve::constant(*rate, LONGEST).map_err(|error| usage(error.to_string()))?,
            Self::Curve(text) => Curve::parse(text).map_err(usage)?,
        };
        let peak = curve.stages().iter().map(|stage| stage.from.max(stage.to)).fold(0.0, f64::max);
        if peak > HIGHEST_RATE {
            return Err(usage(format!("at most {HIGHEST_RATE} requests per second, not {peak}")));
        }
        Ok(Some(curve))
    }

    /// The command line that does the same.
    pub(super) fn command(&self, base_url: &str) -> Option<String> {
        match self {
            Self::Off => None,
            Self::Steady(rate) => {
                Some(format!("load run {base_url} --workload load-tests/read-zipf.toml --rate {rate} --duration 1h"))
            }
            Self::Curve(text) => {
                Some(format!("load run {base_url} --workload load-tests/read-zipf.toml --stages {text}"))
            }
        }
    }
}

impl std::fmt::Display for Order {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Steady(rate) => write!(f, "{rate} requests/s"),
            Self::Curve(text) => write!(f, "curve {text}"),
        }
    }
}

#[derive(Debug)]
struct Run {
    number: u64,
    order: Order,
    stopper: Stopper,
    last: Option<Point>,
    /// Keeps the stack reserved.
    _session: Arc<Session>,
}

/// What the page shows of it.
#[derive(Debug, Clone)]
pub(super) struct LoadState {
    pub(super) order: Order,
    pub(super) last: Option<Point>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct LoadPanel {
    run: Arc<Mutex<Option<Run>>>,
    /// A number is never used twice: one that was stopped must not speak for the next.
    runs: Arc<AtomicU64>,
}

impl LoadPanel {
    fn lock(&self) -> MutexGuard<'_, Option<Run>> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> Option<LoadState> {
        self.lock().as_ref().map(|run| LoadState { order: run.order.clone(), last: run.last.clone() })
    }

    /// What it stopped, if anything ran.
    pub(super) fn stop(&self) -> Option<Order> {
        let run = self.lock().take()?;
        run.stopper.cancel();
        Some(run.order)
    }

    /// In the place of what runs. `ended` is called when a run comes to its own end.
    ///
    /// # Errors
    /// A curve that is none; nginx does not accept connections.
    pub(super) fn start(
        &self,
        order: &Order,
        base_url: &str,
        session: Arc<Session>,
        runtime: &tokio::runtime::Handle,
        ended: impl FnOnce(String) + Send + 'static,
    ) -> Result<(), StackError> {
        let Some(curve) = order.curve()? else {
            self.stop();
            return Ok(());
        };
        let plan = plan(base_url, curve).map_err(|error| as_usage(&error))?;
        let addresses = plan.target.reach(REACH).map_err(|error| as_usage(&error))?;
        let running = loadgen::start(plan, addresses).map_err(|error| as_usage(&error))?;
        let stopper = running.stopper();
        let mut run = self.lock();
        let number = self.runs.fetch_add(1, Ordering::Relaxed);
        if let Some(earlier) = run.replace(Run { number, order: order.clone(), stopper, last: None, _session: session })
        {
            earlier.stopper.cancel();
        }
        drop(run);
        let panel = self.clone();
        runtime.spawn(async move { panel.follow(running, number, ended).await });
        Ok(())
    }

    async fn follow(&self, mut running: Running, number: u64, ended: impl FnOnce(String)) {
        while let Some(point) = running.next_point().await {
            match self.lock().as_mut().filter(|run| run.number == number) {
                Some(run) => run.last = Some(point),
                // Replaced or stopped; dropping it cancels it.
                None => return,
            }
        }
        // The stack stays reserved until the end was told.
        let Some(_over) = self.take(number) else { return };
        let words = match running.report().await {
            Ok(report) => summary(&report),
            Err(error) => error.to_string(),
        };
        ended(words);
    }

    fn take(&self, number: u64) -> Option<Run> {
        let mut run = self.lock();
        if run.as_ref().is_some_and(|run| run.number == number) { run.take() } else { None }
    }
}

fn summary(report: &loadgen::Report) -> String {
    let total: u64 = report.series.iter().map(|point| point.sent).sum();
    let good: u64 = report.series.iter().map(|point| point.succeeded).sum();
    format!("{total} requests sent, {good} answered well")
}

fn plan(base_url: &str, curve: Curve) -> Result<Plan, LoadError> {
    let (target, _) = Target::parse(base_url)?;
    let load = Load::Open { curve, arrivals: Arrivals::Poisson, requests: None };
    let mut plan = Plan::new(target, vec![RequestSpec::get("/data/{id}")], load);
    let ids = Ids::new(RECORDS, Pick::Zipf, 1.0).map_err(|reason| LoadError::Setting { what: "the ids", reason })?;
    plan.variables = vec![("id".to_owned(), ids)];
    Ok(plan)
}

fn as_usage(error: &LoadError) -> StackError {
    StackError::Conflict(format!("the load: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_of_the_lesson_is_a_curve_of_two_minutes() {
        let curve = Order::Curve(DAY.to_owned()).curve().unwrap().unwrap();
        assert_eq!(curve.length(), Duration::from_secs(120));
        let peak = curve.stages().iter().map(|stage| stage.to).fold(0.0, f64::max);
        assert!((peak - 1_900.0 * 0.2).abs() < 1e-9);
    }

    #[test]
    fn absurd_rates_are_refused() {
        for order in [Order::Steady(0.0), Order::Steady(-1.0), Order::Steady(1e6), Order::Steady(f64::NAN)] {
            assert!(matches!(order.curve(), Err(StackError::Usage(_))), "{order:?}");
        }
        for text in ["", "fast", "100", "1e9:1s"] {
            assert!(matches!(Order::Curve(text.to_owned()).curve(), Err(StackError::Usage(_))), "{text}");
        }
        assert!(plan("http://127.0.0.1:1", Curve::constant(5.0, LONGEST).unwrap()).unwrap().check().is_ok());
    }
}
