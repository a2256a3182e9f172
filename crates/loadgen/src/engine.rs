//! A run from start to end: workers that send, a coordinator that adds up what they deliver, a handle to watch and end it.
//!
//! - [`worker`]: the event loop; [`connection`]: one socket; [`poller`], [`deadlines`]: how it waits
//! - [`control`]: ending a run early; [`meter`]: how busy the generator itself was

mod connection;
mod control;
mod deadlines;
mod meter;
mod poller;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc as async_mpsc, oneshot};

pub use control::Stopper;
use control::Wish;
pub(crate) use meter::Effort;
use worker::{Delivery, Ended, Task, Worker};

use crate::error::LoadError;
use crate::limits;
use crate::outcome::ErrorClass;
use crate::pacer::{Pacer, Schedule, Share};
use crate::plan::{Load, Plan};
use crate::record::Recorder;
use crate::report::{Point, Report};
use crate::series::Series;
use crate::tally::Tally;

/// Long enough for every thread to be there when the first request is due.
const START_DELAY: Duration = Duration::from_millis(5);

/// A run under way. Dropping it cancels the run.
#[derive(Debug)]
pub struct Running {
    stopper: Stopper,
    points: async_mpsc::UnboundedReceiver<Point>,
    report: oneshot::Receiver<Result<Report, LoadError>>,
}

/// What a run brought in, before it is put into words.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) total: Tally,
    pub(crate) points: Vec<Point>,
    pub(crate) started: SystemTime,
    /// From the end of the warm-up to the end of the last request.
    pub(crate) elapsed: Duration,
    /// How long of it requests were sent.
    pub(crate) sending: Duration,
    pub(crate) was_cancelled: bool,
    pub(crate) was_finished_early: bool,
    pub(crate) warmup_requests: u64,
    pub(crate) opened: u64,
    pub(crate) closed_idle: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) causes: BTreeMap<ErrorClass, String>,
    pub(crate) efforts: Vec<Effort>,
}

/// Starts a run against `address`, which [`crate::Target::reach`] finds.
///
/// # Errors
/// The plan does not pass [`Plan::check`], or the process may not open enough files or threads.
pub fn start(plan: Plan, address: SocketAddr) -> Result<Running, LoadError> {
    plan.check()?;
    limits::allow_descriptors(plan.connections, plan.threads)?;
    let started = SystemTime::now();
    let run = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let mix = plan.mix()?.for_run(run);
    let stopper = Stopper::default();
    let (slices, delivered) = mpsc::channel();
    let start = Instant::now() + START_DELAY;
    let tasks: Vec<Task> = (0..plan.threads)
        .map(|index| Task {
            index,
            connections: part(plan.connections as u64, index, plan.threads) as usize,
            pacer: pacer(&plan, index),
            mix: mix.clone(),
            recorder: Recorder::new(plan.warmup, plan.interval, plan.success.table(), is_open(&plan)),
            address,
            start,
            stopper: stopper.clone(),
            slices: slices.clone(),
        })
        .collect();
    drop(slices);

    let (points, received_points) = async_mpsc::unbounded_channel();
    let (done, report) = oneshot::channel();
    let observed = stopper.clone();
    let coordinate = move || {
        let plan = &plan;
        let result = thread::scope(|scope| {
            let workers = tasks
                .into_iter()
                .map(|task| {
                    thread::Builder::new()
                        .name("load-worker".to_owned())
                        .spawn_scoped(scope, move || Worker::run(task, plan))
                })
                .collect::<Result<Vec<_>, _>>()
                .map_err(|source| LoadError::System { what: "start a thread", source });
            if workers.is_err() {
                observed.cancel();
            }
            let books = gather(plan, &delivered, &points);
            let failed = |source| LoadError::System { what: "wait for sockets", source };
            let ended = workers?
                .into_iter()
                .map(|worker| match worker.join() {
                    Ok(ended) => ended.map_err(|errno| failed(errno.into())),
                    Err(_) => Err(failed(io::Error::other("a worker panicked"))),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(conclude(plan, books, &ended, started, observed.wish()))
        });
        // Nobody waits for the report when the run was dropped.
        let _dropped = done.send(result.map(|books| Report::new(plan, books)));
    };
    thread::Builder::new()
        .name("load-books".to_owned())
        .spawn(coordinate)
        .map_err(|source| LoadError::System { what: "start a thread", source })?;
    Ok(Running { stopper, points: received_points, report })
}

impl Running {
    /// Ends the run from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The next step of the time series, as soon as it is complete; `None` when the run is over. What is left over at the
    /// end, less than a whole step, is only in the report.
    pub async fn next_point(&mut self) -> Option<Point> {
        self.points.recv().await
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    /// The run itself broke down. Whatever happens to requests is in the report and no error.
    pub async fn report(mut self) -> Result<Report, LoadError> {
        match (&mut self.report).await {
            Ok(result) => result,
            Err(_) => {
                Err(LoadError::System { what: "finish the run", source: io::Error::other("its thread panicked") })
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopper.cancel();
    }
}

fn is_open(plan: &Plan) -> bool {
    matches!(plan.load, Load::Open { .. })
}

/// How much of `total` falls to worker `index`: all of it is spread, as evenly as whole numbers allow.
fn part(total: u64, index: usize, workers: usize) -> u64 {
    let (index, workers) = (index as u64, workers as u64);
    total / workers + u64::from(index < total % workers)
}

fn pacer(plan: &Plan, index: usize) -> Pacer {
    let part_of = |requests: u64| part(requests, index, plan.threads);
    match &plan.load {
        Load::Closed { requests, duration } => Pacer::closed(requests.map(part_of), *duration, plan.warmup),
        Load::Open { curve, arrivals, requests } => {
            let share = Share { index: index as u64, of: plan.threads as u64 };
            let schedule = Schedule::new(&curve.clone().warmed_up(plan.warmup), *arrivals, plan.seed, share);
            Pacer::open(schedule, requests.map(part_of), plan.warmup)
        }
    }
}

/// Adds up the slices as they come, and passes each step on when every worker has delivered it.
fn gather(
    plan: &Plan,
    delivered: &mpsc::Receiver<Delivery>,
    points: &async_mpsc::UnboundedSender<Point>,
) -> (Tally, Series) {
    let empty = || Tally::new(is_open(plan));
    let mut total = empty();
    let mut series = Series::new(plan.interval);
    let mut waiting: BTreeMap<u64, Tally> = BTreeMap::new();
    let mut complete_below = vec![0_u64; plan.threads];
    let mut in_flight = vec![0_u64; plan.threads];
    let mut first_partial = u64::MAX;
    for Delivery { worker, slice, is_last } in delivered {
        waiting.entry(slice.index).or_insert_with(empty).add_slice(&slice);
        in_flight[worker] = slice.in_flight;
        complete_below[worker] = if is_last { u64::MAX } else { slice.index + 1 };
        if is_last {
            first_partial = first_partial.min(slice.index);
        }
        let complete = complete_below.iter().copied().min().unwrap_or(0);
        while let Some(entry) = waiting.first_entry()
            && *entry.key() < complete
        {
            let (index, step) = entry.remove_entry();
            total.add(&step);
            if index < first_partial {
                // Nobody watches when only the report is wanted.
                let _unwatched = points.send(Point::new(index, plan.interval, plan.interval, &step));
            }
            series.push(index, step);
        }
    }
    total.in_flight = in_flight.iter().sum();
    (total, series)
}

fn conclude(plan: &Plan, (total, series): (Tally, Series), ended: &[Ended], started: SystemTime, wish: Wish) -> Books {
    let mut traffic = connection::Traffic::default();
    let mut causes = BTreeMap::new();
    for worker in ended {
        traffic.add(worker.traffic);
        for (class, cause) in &worker.causes {
            causes.entry(*class).or_insert_with(|| cause.to_string());
        }
    }
    let latest = |moment: fn(&Ended) -> Duration| ended.iter().map(moment).max().unwrap_or(plan.warmup);
    let (end, last_end) = (latest(|worker| worker.end), latest(|worker| worker.last_end));
    // A run that was cut off, or in which nothing ended, lasted until it was over; any other until its last answer. An
    // open loop in which the last arrival comes before the end of its curve has lasted for the whole curve.
    let until = if wish == Wish::Cancel || last_end == plan.warmup { end } else { last_end };
    let efforts: Vec<Effort> = ended.iter().map(|worker| worker.effort).collect();
    let (elapsed, sending) = match &plan.load {
        Load::Open { curve, requests: None, .. } if wish == Wish::GoOn => {
            (until.saturating_sub(plan.warmup).max(curve.length()), curve.length())
        }
        Load::Open { .. } | Load::Closed { .. } => {
            (until.saturating_sub(plan.warmup), efforts.iter().map(|effort| effort.wall).max().unwrap_or_default())
        }
    };
    Books {
        points: series.finish(elapsed),
        total,
        started: started + START_DELAY + plan.warmup,
        elapsed,
        sending,
        was_cancelled: wish == Wish::Cancel,
        was_finished_early: wish == Wish::Finish,
        warmup_requests: ended.iter().map(|worker| worker.warmup_requests).sum(),
        opened: traffic.opened,
        closed_idle: traffic.closed_idle,
        bytes_sent: traffic.bytes_sent,
        bytes_received: traffic.bytes_received,
        causes,
        efforts,
    }
}
