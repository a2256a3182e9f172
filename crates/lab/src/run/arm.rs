//! One run of one arm: from its shape to its undo.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use stack::{HostEnvironment, Operation, Session, StackError};
use time::OffsetDateTime;

use super::{
    alerts::{self, Alerts},
    gate,
    live::Live,
    load::{self, Driven},
    steps::{Steps, Stop},
};
use crate::{
    experiment::{Arm, Gate},
    journal::{Entry, Writer},
    metrics::{self, Changes, Wake},
    prober::{Prober, Seen},
};

/// The step of the load's time axis: short enough for the window of a short fault, and longer in a long run.
const INTERVAL: Duration = Duration::from_millis(100);
const LONGEST_INTERVAL_STEPS: u32 = 600;
/// The time limit for replicas to fill their pools and reach both dependencies after a change of shape, on a busy
/// machine.
const WELL_WITHIN: Duration = Duration::from_secs(30);
/// The interval at which the states of servers are recorded.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The arm to run.
pub(super) struct ArmPlan<'a> {
    pub(super) arm: &'a Arm,
    pub(super) repeat: u32,
    pub(super) seed: u64,
    /// Good answers per second of the previous arms.
    pub(super) achieved: &'a BTreeMap<String, f64>,
    /// The values of the replicas' metrics that the journal already has.
    pub(super) changes: &'a Mutex<Changes>,
    pub(super) host: &'a HostEnvironment,
}

/// Runs it and undoes everything. Returns the good answers per second, if there was a load.
pub(super) fn run(
    plan: &ArmPlan<'_>,
    session: &Session,
    journal: &Writer,
    live: &Live<'_>,
    operation: &Operation<'_>,
) -> Result<Option<f64>, StackError> {
    let arm = plan.arm;
    let repeat = if plan.repeat > 1 { format!(" ({})", plan.repeat) } else { String::new() };
    live.arm(&format!("{}{repeat}", arm.name));
    journal.append(&Entry::Arm { arm: arm.name.clone(), repeat: plan.repeat, at: OffsetDateTime::now_utc() })?;
    let outcome = shaped(plan, session, journal, live, operation);
    // Whatever has happened, no effect of this arm may reach the next one.
    live.phase("undoing");
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    let healed = session.heal(None, &undo);
    let stopped = if arm.alerts.is_some() { session.stop_alerts(&undo) } else { Ok(()) };
    let goodput = match outcome {
        Ok(goodput) => goodput,
        Err(Stop::Invalid(why)) => {
            journal.append(&Entry::Invalid { why })?;
            None
        }
        Err(Stop::Failed(error)) => {
            // The next command reports what could not be undone; the first error is returned.
            let _ = healed;
            return Err(error);
        }
    };
    healed?;
    stopped?;
    journal.append(&Entry::ArmEnd { at: OffsetDateTime::now_utc() })?;
    Ok(goodput)
}

fn shaped(
    plan: &ArmPlan<'_>,
    session: &Session,
    journal: &Writer,
    live: &Live<'_>,
    operation: &Operation<'_>,
) -> Result<Option<f64>, Stop> {
    let arm = plan.arm;
    live.phase("shaping the stack");
    session.heal(None, operation)?;
    let wanted = arm.stack.topology();
    if !super::workplace::is_alike(&session.topology()?, &wanted) {
        session.configure(&wanted, operation)?;
    }
    live.phase("waiting until all is well");
    if let Err(saw) = gate::wait(session, arm.gate, WELL_WITHIN, operation)? {
        journal.append(&Entry::Gate { passed: false, saw })?;
        return Ok(None);
    }
    let mut alerts = None;
    if let Some(plan_of_alerts) = &arm.alerts {
        live.phase("starting Prometheus");
        let (started, text) = alerts::start(plan_of_alerts, session, plan.host, operation)?;
        alerts = started;
        journal.append(&Entry::Note { text })?;
    }
    let case = Case::new(plan, session, journal, live, operation);
    for (place, action) in arm.prepare.iter().enumerate() {
        live.phase("preparing");
        case.steps().act(&format!("prepare-{}", place + 1), action, false)?;
    }
    case.measure(plan, alerts)
}

/// The state that the threads of an arm share.
pub(super) struct Case<'a> {
    pub(super) arm: &'a Arm,
    pub(super) session: &'a Session,
    pub(super) journal: &'a Writer,
    pub(super) live: &'a Live<'a>,
    pub(super) operation: &'a Operation<'a>,
    pub(super) probes: BTreeMap<String, Arc<Seen>>,
    pub(super) over: AtomicBool,
    /// Whether the load has ended.
    pub(super) load_over: AtomicBool,
    /// Whether to stop sending: the gate did not pass, or there was a failure or an interrupt.
    pub(super) cut_short: AtomicBool,
    pub(super) read_metrics: mpsc::Sender<()>,
    asked: Mutex<mpsc::Receiver<()>>,
    changes: &'a Mutex<Changes>,
}

impl<'a> Case<'a> {
    fn new(
        plan: &ArmPlan<'a>,
        session: &'a Session,
        journal: &'a Writer,
        live: &'a Live<'a>,
        operation: &'a Operation<'a>,
    ) -> Self {
        let (read_metrics, asked) = mpsc::channel();
        let probes = plan.arm.probes.iter().map(|probe| (probe.name.clone(), Arc::default())).collect();
        Self {
            arm: plan.arm,
            session,
            journal,
            live,
            operation,
            probes,
            over: AtomicBool::new(false),
            load_over: AtomicBool::new(false),
            cut_short: AtomicBool::new(false),
            read_metrics,
            asked: Mutex::new(asked),
            changes: plan.changes,
        }
    }

    fn steps(&self) -> Steps<'_> {
        Steps::new(self, Instant::now())
    }

    /// Starts load and probes, goes through the steps, and stops when the load is over and everything is undone.
    fn measure(&self, plan: &ArmPlan<'_>, alerts: Option<Alerts>) -> Result<Option<f64>, Stop> {
        let driven = self.start_load(plan)?;
        let start = Instant::now();
        self.journal.append(&Entry::Start { at: OffsetDateTime::now_utc() })?;
        let (outcome, loaded) = thread::scope(|scope| {
            for probe in &self.arm.probes {
                scope.spawn(move || self.probe(probe, start));
            }
            scope.spawn(|| self.keep_reading_metrics());
            scope.spawn(|| self.keep_looking_at_servers());
            if let Some(alerts) = alerts {
                scope.spawn(|| self.keep_reading_alerts(alerts));
            }
            let load = driven.map(|driven| {
                scope.spawn(move || {
                    let seen = |point: loadgen::Point| {
                        self.live.point(&point);
                        // If the disk is full, the next required entry ends the run.
                        let _ = self.journal.append(&Entry::Point { point: Box::new(point) });
                    };
                    let cut_short = || self.cut_short.load(Ordering::Relaxed) || self.operation.interrupt.count() > 0;
                    let report = driven.watch(seen, cut_short);
                    self.load_over.store(true, Ordering::Relaxed);
                    report
                })
            });
            let outcome = Steps::new(self, start).all();
            if outcome.is_err() {
                self.cut_short.store(true, Ordering::Relaxed);
            }
            let loaded = load.map(thread::ScopedJoinHandle::join);
            self.stop_everything();
            (outcome, loaded)
        });
        let report = match loaded {
            None => None,
            Some(Ok(Ok(report))) => Some(report),
            Some(Ok(Err(error))) => return Err(Stop::Invalid(format!("the load generator failed: {error}"))),
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        };
        let goodput = report.as_ref().map(|(report, _)| report.summary.goodput_per_second);
        if let Some((report, requests)) = report {
            self.journal.append(&Entry::Load { report: Box::new(report), requests })?;
        }
        outcome?;
        Ok(goodput)
    }

    fn start_load(&self, plan: &ArmPlan<'_>) -> Result<Option<Driven>, Stop> {
        let Some(load) = &self.arm.load else { return Ok(None) };
        let endpoints = self.session.endpoints()?;
        let url = load.via.url(&endpoints).ok_or_else(|| Stop::Invalid("there is no such replica".to_owned()))?;
        let interval = INTERVAL.max(load.lasts / LONGEST_INTERVAL_STEPS);
        let achieved = |arm: &str| plan.achieved.get(arm).copied();
        let plan = load.plan(url, plan.seed, interval, achieved).map_err(Stop::Invalid)?;
        load::start(plan).map(Some).map_err(|error| Stop::Invalid(format!("the load generator: {error}")))
    }

    fn stop_everything(&self) {
        self.over.store(true, Ordering::Relaxed);
        for seen in self.probes.values() {
            seen.over.store(true, Ordering::Relaxed);
        }
        // Wakes the reader of metrics, which then detects the end.
        let _ = self.read_metrics.send(());
    }

    fn probe(&self, plan: &crate::experiment::ProbePlan, start: Instant) {
        let Some(seen) = self.probes.get(&plan.name) else { return };
        while !plan.from.is_empty() && !seen.begun.load(Ordering::Relaxed) {
            if seen.over.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
        seen.begun.store(true, Ordering::Relaxed);
        let base =
            || self.session.endpoints().ok().and_then(|endpoints| plan.via.url(&endpoints).map(ToOwned::to_owned));
        Prober { plan, base: &base, journal: self.journal, start, seen: Arc::clone(seen) }.run();
    }

    fn keep_reading_metrics(&self) {
        let Ok(asked) = self.asked.lock() else { return };
        let every = metrics::every(self.arm.load.as_ref().map_or(Duration::ZERO, |load| load.lasts));
        loop {
            let next = Instant::now() + every;
            if let Ok(endpoints) = self.session.endpoints() {
                let at = OffsetDateTime::now_utc();
                let reading = metrics::read(&endpoints);
                let replicas = self.changes.lock().unwrap_or_else(PoisonError::into_inner).of(reading);
                let _ = self.journal.append(&Entry::Metrics { at, replicas });
            }
            if self.over.load(Ordering::Relaxed) || metrics::wait(next, &asked) == Wake::Over {
                return;
            }
        }
    }

    /// The states of the alerts, when they change.
    fn keep_reading_alerts(&self, mut alerts: Alerts) {
        while !self.over.load(Ordering::Relaxed) {
            for change in alerts.changes() {
                let _ = self.journal.append(&change);
            }
            thread::sleep(alerts::EVERY);
        }
    }

    /// The states of the servers, when they change.
    fn keep_looking_at_servers(&self) {
        let mut known = BTreeMap::new();
        while !self.over.load(Ordering::Relaxed) {
            if let Ok(status) = self.session.status() {
                let states: BTreeMap<String, String> = status
                    .servers()
                    .map(|(name, _, server)| (name.to_string(), server.state.as_str().to_owned()))
                    .collect();
                if states != known {
                    let down = states.iter().filter(|(_, state)| *state != "up").map(|(name, _)| name.clone());
                    self.live.down(down.collect());
                    known.clone_from(&states);
                    let _ = self.journal.append(&Entry::Servers { at: OffsetDateTime::now_utc(), states });
                }
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Whether the load has been successful so far; true without a load, or if the arm does not require it.
    pub(super) fn steady(&self) -> Option<Result<String, String>> {
        if self.arm.load.is_none() || self.arm.gate == Gate::Up {
            return Some(Ok("the servers are up".to_owned()));
        }
        let (good, bad) = self.live.answers();
        gate::judge(good, bad)
    }
}
