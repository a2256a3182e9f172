//! A run from start to end: workers that send, a coordinator that adds up their results, and a handle to watch and end
//! the run.
//!
//! - [`worker`]: the event loop; [`connection`]: one socket; [`poller`], [`deadlines`]: how it waits
//! - [`control`]: ending a run early; [`meter`]: how busy the generator itself was; [`stall`]: when it stood still

mod budget;
mod connection;
mod control;
mod deadlines;
mod failure;
mod meter;
mod poller;
mod stall;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "engine/no_tls.rs"]
mod tls;
mod worker;

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc as async_mpsc, oneshot};

use control::StopRequest;
pub use control::Stopper;
pub(crate) use meter::Effort;
use worker::{Delivery, Ended, Task, Worker};

use crate::address::Addresses;
use crate::axis::{Axis, Span, Step};
use crate::error::LoadError;
use crate::limits;
use crate::outcome::ErrorClass;
use crate::pacer::{Pacer, Share};
use crate::plan::{Load, Plan};
use crate::record::{Harvest, RawRecord, Recorder};
use crate::report::condition::{Condition, Measured};
use crate::report::{Ending, Point, Report, Stalls};
use crate::tally::Tally;

/// Long enough for every thread to have started before the first request is due.
const START_DELAY: Duration = Duration::from_millis(5);

/// A running load. Dropping it cancels the run.
#[derive(Debug)]
pub struct Running {
    stopper: Stopper,
    points: async_mpsc::UnboundedReceiver<Point>,
    report: oneshot::Receiver<Result<Report, LoadError>>,
}

/// The raw result of a run, before the report is built. Times count from the end of the warm-up.
#[derive(Debug)]
pub(crate) struct Totals {
    pub(crate) axis: Axis,
    pub(crate) started: SystemTime,
    pub(crate) ending: Ending,
    /// The time until the end of the last request.
    pub(crate) elapsed: Duration,
    /// The length of the schedule that was carried out; zero in a closed loop.
    pub(crate) scheduled: Duration,
    pub(crate) last_send: Duration,
    pub(crate) warmup_requests: u64,
    pub(crate) opened: u64,
    pub(crate) closed_idle: u64,
    pub(crate) resent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) causes: BTreeMap<ErrorClass, String>,
    pub(crate) efforts: Vec<Effort>,
    /// Of the worker with the longest stall.
    pub(crate) stalls: Stalls,
}

/// Starts a run against `addresses`, which come from [`crate::Target::reach`]. New connections use them in turn.
///
/// # Errors
/// The plan does not pass [`Plan::check`], or the process may not open enough files or threads.
pub fn start(plan: Plan, addresses: impl Into<Addresses>) -> Result<Running, LoadError> {
    start_keeping(plan, addresses, None)
}

/// Receives every request that has ended, at the end of each step of time.
pub type RawSink = Box<dyn FnMut(&[RawRecord]) + Send>;

/// Like [`start`]; with a sink, every single request is recorded too.
///
/// # Errors
/// Those of [`start`].
pub fn start_keeping(
    plan: Plan,
    addresses: impl Into<Addresses>,
    mut raw: Option<RawSink>,
) -> Result<Running, LoadError> {
    plan.check()?;
    let addresses = addresses.into();
    let tls = tls::Connector::for_target(&plan.target, plan.ca_file.as_deref())?;
    limits::allow_descriptors(plan.connections, plan.threads)?;
    let started = SystemTime::now();
    let run = started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_micros() as u64);
    let mix = plan.mix()?.for_run(run);
    let stopper = Stopper::default();
    let (harvests, delivered) = mpsc::channel();
    let start = Instant::now() + START_DELAY;
    let tasks: Vec<Task> = (0..plan.threads)
        .map(|index| Task {
            index,
            connections: part(plan.connections as u64, index, plan.threads) as usize,
            pacer: pacer(&plan, index),
            mix: mix.clone(),
            recorder: Recorder::new(plan.warmup, plan.interval, plan.success.table(), is_open(&plan))
                .keeping_raw(raw.is_some()),
            addresses: addresses.clone(),
            tls: tls.clone(),
            start,
            stopper: stopper.clone(),
            harvests: harvests.clone(),
        })
        .collect();
    drop(harvests);

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
            let axis = gather(plan, &delivered, &points, &observed, raw.as_mut());
            let failed = |source| LoadError::System { what: "wait for sockets", source };
            let ended = workers?
                .into_iter()
                .map(|worker| match worker.join() {
                    Ok(ended) => ended.map_err(|errno| failed(errno.into())),
                    Err(_) => Err(failed(io::Error::other("a worker panicked"))),
                })
                .collect::<Result<Vec<_>, _>>()?;
            Ok(conclude(plan, axis, &ended, started, observed.request()))
        });
        // The receiver is gone if the run was dropped.
        let _dropped = done.send(result.map(|totals| Report::new(plan, &totals)));
    };
    thread::Builder::new()
        .name("load-totals".to_owned())
        .spawn(coordinate)
        .map_err(|source| LoadError::System { what: "start a thread", source })?;
    Ok(Running { stopper, points: received_points, report })
}

impl Running {
    /// A handle that ends the run from another thread or task.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// The live numbers of the next step of real time; `None` when the run is over. Requests are counted when they are
    /// sent, and answers when they arrive, while the report's series counts both in the step in which the request was
    /// planned. A last incomplete step is only in the report.
    pub async fn next_point(&mut self) -> Option<Point> {
        self.points.recv().await
    }

    /// Waits for the end of the run.
    ///
    /// # Errors
    /// The run itself failed. Failed requests are part of the report, not an error.
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

/// The part of `total` that worker `index` gets, so that the parts are as equal as whole numbers allow.
fn part(total: u64, index: usize, workers: usize) -> u64 {
    let (index, workers) = (index as u64, workers as u64);
    total / workers + u64::from(index < total % workers)
}

fn pacer(plan: &Plan, index: usize) -> Pacer {
    let part_of = |requests: u64| part(requests, index, plan.threads);
    match &plan.load {
        Load::Closed { requests, duration } => Pacer::closed(requests.map(part_of), *duration, plan.warmup),
        Load::Open { curve, requests, .. } => {
            let share = Share { index: index as u64, of: plan.threads as u64 };
            Pacer::open(plan.schedule(curve, share), requests.map(part_of), plan.warmup)
        }
    }
}

/// Adds up the workers' results, and passes each step on when every worker has delivered it.
fn gather(
    plan: &Plan,
    delivered: &mpsc::Receiver<Delivery>,
    points: &async_mpsc::UnboundedSender<Point>,
    stopper: &Stopper,
    mut sink: Option<&mut RawSink>,
) -> Axis {
    let mut axis = Axis::new(plan.interval);
    let mut abort = Abort::new(plan);
    let mut waiting: BTreeMap<u64, Step> = BTreeMap::new();
    let mut complete_below = vec![0_u64; plan.threads];
    let mut in_flight = vec![0_u64; plan.threads];
    let mut first_partial = u64::MAX;
    for Delivery { worker, harvest, is_last } in delivered {
        let Harvest { raw, index, cells, in_flight: on_their_way, labels } = harvest;
        if let Some(sink) = &mut sink {
            sink(&raw);
        }
        let news = waiting.entry(index).or_default();
        for (step, cell) in cells {
            let tally = Tally::of_cell(cell, &labels);
            axis.add(step, &tally);
            news.tally.add(&tally);
        }
        in_flight[worker] = on_their_way;
        news.in_flight = in_flight.iter().sum();
        axis.set_in_flight(index, news.in_flight);
        complete_below[worker] = if is_last { u64::MAX } else { index + 1 };
        if is_last {
            first_partial = first_partial.min(index);
        }
        let complete = complete_below.iter().copied().min().unwrap_or(0);
        while let Some(entry) = waiting.first_entry()
            && *entry.key() < complete
        {
            let (index, step) = entry.remove_entry();
            if index < first_partial {
                if abort.is_due(index, &step.tally) {
                    stopper.abort();
                }
                let at = plan.interval * u32::try_from(index).unwrap_or(u32::MAX);
                // The receiver is gone if only the report is used.
                let _unwatched = points.send(Point::new(&Span { at, length: plan.interval, step }));
            }
        }
    }
    axis
}

/// Checks conditions while the run goes on (`--abort`).
struct Abort<'a> {
    conditions: &'a [Condition],
    kinds: Vec<String>,
    interval: Duration,
    so_far: Tally,
}

impl<'a> Abort<'a> {
    fn new(plan: &'a Plan) -> Self {
        let conditions = if plan.abort { plan.fail_if.as_slice() } else { &[] };
        Self { conditions, kinds: plan.kinds(), interval: plan.interval, so_far: Tally::default() }
    }

    /// Whether the results up to the end of step `index` break a condition.
    fn is_due(&mut self, index: u64, news: &Tally) -> bool {
        if self.conditions.is_empty() {
            return false;
        }
        self.so_far.add(news);
        let seconds = self.interval.as_secs_f64() * (index + 1) as f64;
        let measured = Measured { total: &self.so_far, kinds: &self.kinds, seconds };
        self.conditions.iter().any(|condition| condition.is_broken(&measured))
    }
}

fn conclude(plan: &Plan, axis: Axis, ended: &[Ended], started: SystemTime, request: StopRequest) -> Totals {
    let mut traffic = connection::Traffic::default();
    let mut causes = BTreeMap::new();
    for worker in ended {
        traffic.add(worker.traffic);
        for (class, cause) in &worker.causes {
            causes.entry(*class).or_insert_with(|| cause.to_string());
        }
    }
    let after_warmup = |moment: Duration| moment.saturating_sub(plan.warmup);
    let latest = |moment: fn(&Ended) -> Duration| after_warmup(ended.iter().map(moment).max().unwrap_or_default());
    let (end, last_end) = (latest(|worker| worker.end), latest(|worker| worker.last_end));
    // A run that was cut off, or in which no request ended, lasted until it was ended; any other lasted until its last
    // answer. An open loop whose last arrival comes before the end of its curve lasts for the whole curve.
    let until = if request == StopRequest::Cancel || last_end.is_zero() { end } else { last_end };
    let scheduled = after_warmup(ended.iter().map(|worker| worker.scheduled).min().unwrap_or_default());
    let elapsed = match &plan.load {
        Load::Open { curve, requests: None, .. } if request == StopRequest::None => until.max(curve.length()),
        Load::Open { .. } | Load::Closed { .. } => until,
    };
    Totals {
        axis,
        started: started + START_DELAY + plan.warmup,
        ending: match request {
            StopRequest::None => Ending::Complete,
            StopRequest::Finish => Ending::FinishedEarly,
            StopRequest::Abort => Ending::Aborted,
            StopRequest::Cancel => Ending::Cancelled,
        },
        elapsed,
        scheduled,
        last_send: latest(|worker| worker.last_send),
        warmup_requests: ended.iter().map(|worker| worker.warmup_requests).sum(),
        opened: traffic.opened,
        closed_idle: traffic.closed_idle,
        resent: traffic.resent,
        bytes_sent: traffic.bytes_sent,
        bytes_received: traffic.bytes_received,
        causes,
        efforts: ended.iter().map(|worker| worker.effort).collect(),
        stalls: ended
            .iter()
            .map(|worker| worker.stalls)
            .max_by(|a, b| a.total_s.total_cmp(&b.total_s))
            .unwrap_or_default(),
    }
}
