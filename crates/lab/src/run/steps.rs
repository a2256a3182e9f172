//! The steps of an arm: each is executed at its time, recorded before it acts, with marks around it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use stack::{Healed, Operation, Restart, StackError, State, Target};
use time::OffsetDateTime;

use super::{arm::Case, gate};
use crate::{
    experiment::{Action, AskPlan, AwaitPlan, Condition, FaultPlan, Gate, HealPlan},
    journal::{Entry, JournalError},
    metrics, prober,
};

/// How often a condition is checked.
const LOOK: Duration = Duration::from_millis(2);
/// For conditions that cost a request or a look at processes for each check.
const LOOK_SLOWLY: Duration = Duration::from_millis(20);
/// The limit for everything to be good again after the undo. Longer than any bound, because a hypothesis judges the
/// duration.
const RECOVERS_WITHIN: Duration = Duration::from_secs(15);

/// Why an arm ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// The arm cannot be judged; the run goes on with the next one.
    Invalid(String),
    /// The run cannot go on.
    Failed(StackError),
}

impl From<StackError> for Stop {
    fn from(error: StackError) -> Self {
        match error {
            StackError::NotPermitted { what, .. } => Self::Invalid(format!("not permitted on this machine: {what}")),
            StackError::NotConfirmed(_)
            | StackError::Usage(_)
            | StackError::UnknownTarget { .. }
            | StackError::Conflict(_) => Self::Invalid(error.to_string()),
            StackError::Interrupted
            | StackError::NotRunning { .. }
            | StackError::AlreadyRunning { .. }
            | StackError::Busy { .. }
            | StackError::Held { .. }
            | StackError::NotAllHealed { .. }
            | StackError::PortTaken { .. }
            | StackError::MissingPrograms { .. }
            | StackError::Start { .. }
            | StackError::Command { .. }
            | StackError::Record { .. }
            | StackError::Io { .. } => Self::Failed(error),
        }
    }
}

impl From<JournalError> for Stop {
    fn from(error: JournalError) -> Self {
        Self::Failed(error.into())
    }
}

/// The steps of an arm in progress.
pub(super) struct Steps<'a> {
    case: &'a Case<'a>,
    start: Instant,
    /// Marks that are set only once.
    has_order: bool,
    has_undo: bool,
    /// Whether a fault is not undone yet.
    is_broken: bool,
}

impl<'a> Steps<'a> {
    pub(super) fn new(case: &'a Case<'a>, start: Instant) -> Self {
        Self { case, start, has_order: false, has_undo: false, is_broken: false }
    }

    /// Runs all steps, waits for the rest of the load, and undoes what is left.
    pub(super) fn all(mut self) -> Result<(), Stop> {
        let arm = self.case.arm;
        let mut gated = false;
        for (place, step) in arm.steps.iter().enumerate() {
            self.wait_until(step.at)?;
            if !gated && step.action.breaks() {
                if !self.gate()? {
                    return Ok(());
                }
                gated = true;
            }
            let name = arm.step_name(place);
            self.mark(&format!("{name}.asked"), OffsetDateTime::now_utc())?;
            self.act(&name, &step.action, true)?;
            self.mark(&format!("{name}.done"), OffsetDateTime::now_utc())?;
        }
        if arm.load.is_some() {
            self.wait(|| self.case.load_over.load(Ordering::Relaxed))?;
            self.mark("end", OffsetDateTime::now_utc())?;
        }
        if !gated && !self.gate()? {
            return Ok(());
        }
        if self.is_broken {
            self.heal("undo", &HealPlan::All, true)?;
        } else if self.has_order && !self.has_undo {
            // A fault that happens once needs no undo; recovery counts from here.
            self.undone(OffsetDateTime::now_utc(), OffsetDateTime::now_utc())?;
        }
        if arm.load.is_none() {
            self.mark("end", OffsetDateTime::now_utc())?;
        }
        Ok(())
    }

    fn gate(&self) -> Result<bool, Stop> {
        let end = Instant::now() + RECOVERS_WITHIN;
        loop {
            if let Some(steady) = self.case.steady() {
                let passed = steady.is_ok();
                let (Ok(saw) | Err(saw)) = steady;
                self.case.journal.append(&Entry::Gate { passed, saw })?;
                self.case.cut_short.fetch_or(!passed, Ordering::Relaxed);
                return Ok(passed);
            }
            if Instant::now() > end {
                self.case.journal.append(&Entry::Gate { passed: false, saw: "no answer at all".to_owned() })?;
                self.case.cut_short.store(true, Ordering::Relaxed);
                return Ok(false);
            }
            self.case.operation.interrupt.check()?;
            self.case.operation.interrupt.sleep(LOOK_SLOWLY);
        }
    }

    fn wait_until(&self, at: Duration) -> Result<(), Stop> {
        self.case.operation.interrupt.check()?;
        self.case.operation.interrupt.sleep(at.saturating_sub(self.start.elapsed()));
        Ok(self.case.operation.interrupt.check()?)
    }

    fn wait(&self, is_so: impl Fn() -> bool) -> Result<(), Stop> {
        while !is_so() {
            self.case.operation.interrupt.check()?;
            self.case.operation.interrupt.sleep(LOOK);
        }
        Ok(())
    }

    /// Records a named time. Probes begin and end at marks, and the metrics are read at them.
    fn mark(&self, name: &str, at: OffsetDateTime) -> Result<(), Stop> {
        for probe in &self.case.arm.probes {
            let Some(seen) = self.case.probes.get(&probe.name) else { continue };
            if probe.from == name {
                seen.begun.store(true, Ordering::Relaxed);
            }
            if probe.to == name {
                seen.over.store(true, Ordering::Relaxed);
            }
        }
        // The receiver ends with the arm.
        let _ = self.case.read_metrics.send(());
        Ok(self.case.journal.append(&Entry::Mark { name: name.to_owned(), at })?)
    }

    /// Executes one action. `is_step`: it sets marks and is part of the picture.
    pub(super) fn act(&mut self, name: &str, action: &Action, is_step: bool) -> Result<(), Stop> {
        let asked_at = OffsetDateTime::now_utc();
        let what = action.to_string();
        self.case.live.phase(&what);
        self.case.journal.append(&Entry::Intent { step: name.to_owned(), what: what.clone(), at: asked_at })?;
        match action {
            Action::Fault(plan) => return self.inject(name, plan, is_step),
            Action::Heal(plan) => return self.heal(name, plan, is_step),
            Action::Restart(order) => self.restart(*order, asked_at)?,
            Action::Scale(replicas) => self.change(asked_at, |case| case.session.scale(*replicas, case.operation))?,
            Action::Await(plan) => self.await_condition(plan)?,
            Action::Ask(plan) => self.ask(plan)?,
            Action::Wait(time) => {
                self.case.operation.interrupt.sleep(*time);
                self.case.operation.interrupt.check()?;
            }
            Action::Mark(mark) => return self.mark(mark, asked_at),
        }
        let done_at = OffsetDateTime::now_utc();
        Ok(self.case.journal.append(&Entry::Done { step: name.to_owned(), what, asked_at, done_at })?)
    }

    fn inject(&mut self, name: &str, plan: &FaultPlan, is_step: bool) -> Result<(), Stop> {
        let fault = self.case.session.inject(plan.kind.clone(), plan.target, self.case.operation)?;
        let (asked_at, took_effect_at) = (fault.asked_at, fault.took_effect_at);
        self.case.journal.append(&Entry::Injected { step: name.to_owned(), fault })?;
        if is_step {
            self.order(asked_at, took_effect_at)?;
            self.is_broken |= !plan.kind.is_momentary();
        }
        Ok(())
    }

    fn order(&mut self, asked_at: OffsetDateTime, took_effect_at: OffsetDateTime) -> Result<(), Stop> {
        if !self.has_order {
            self.has_order = true;
            self.mark("order", asked_at)?;
            self.mark("effect", took_effect_at)?;
        }
        Ok(())
    }

    fn restart(&mut self, order: Restart, asked_at: OffsetDateTime) -> Result<(), Stop> {
        self.change(asked_at, |case| case.session.restart(order, case.operation))
    }

    /// A change of the replicas alone is the event; next to a fault it is part of the response.
    fn change(
        &mut self,
        asked_at: OffsetDateTime,
        change: impl Fn(&Case<'_>) -> Result<(), StackError>,
    ) -> Result<(), Stop> {
        let is_alone = !self.case.arm.steps.iter().any(|step| matches!(step.action, Action::Fault(_)));
        if is_alone {
            self.order(asked_at, asked_at)?;
        }
        change(self.case)?;
        if is_alone {
            let done_at = OffsetDateTime::now_utc();
            self.undone(done_at, done_at)?;
        }
        Ok(())
    }

    fn heal(&mut self, name: &str, plan: &HealPlan, is_step: bool) -> Result<(), Stop> {
        let only = match plan {
            HealPlan::All => None,
            HealPlan::Target(target) => Some(*target),
        };
        let asked_at = OffsetDateTime::now_utc();
        // This also runs after an interrupt; a second interrupt ends it.
        let interrupt = self.case.operation.interrupt.acknowledged();
        let undo = Operation { progress: self.case.operation.progress, interrupt };
        let healed = self.case.session.heal(only, &undo)?;
        let answered_at = healed.iter().map(|healed| healed.answered_at).max().unwrap_or(asked_at);
        for healed in &healed {
            let healed: Healed = healed.clone();
            self.case.journal.append(&Entry::Healed { step: name.to_owned(), healed })?;
        }
        if is_step {
            self.is_broken = self.case.session.status().is_ok_and(|status| status.faults().next().is_some());
            self.undone(asked_at, answered_at)?;
        }
        Ok(())
    }

    fn undone(&mut self, asked_at: OffsetDateTime, answered_at: OffsetDateTime) -> Result<(), Stop> {
        if !self.has_undo {
            self.has_undo = true;
            self.mark("undo", asked_at)?;
        }
        self.mark("undone", answered_at)?;
        self.recover(answered_at)
    }

    /// Waits until every active probe has had a good answer since then; without probes, until the replicas are healthy.
    fn recover(&self, since: OffsetDateTime) -> Result<(), Stop> {
        let ago = (OffsetDateTime::now_utc() - since).as_seconds_f64();
        let since_ms = (self.start.elapsed().as_secs_f64() - ago) * 1e3;
        let active = |seen: &prober::Seen| seen.begun.load(Ordering::Relaxed) && !seen.over.load(Ordering::Relaxed);
        let end = Instant::now() + RECOVERS_WITHIN;
        if self.case.probes.values().any(|seen| active(seen)) {
            let all_good = || self.case.probes.values().all(|seen| !active(seen) || seen.good_since(since_ms));
            while !all_good() {
                if Instant::now() > end {
                    return Ok(());
                }
                self.case.operation.interrupt.check()?;
                self.case.operation.interrupt.sleep(LOOK);
            }
        } else if self.case.arm.gate == Gate::Steady
            && gate::wait(self.case.session, Gate::Steady, RECOVERS_WITHIN, self.case.operation)?.is_err()
        {
            return Ok(());
        }
        self.mark("recovered", OffsetDateTime::now_utc())
    }

    fn await_condition(&mut self, plan: &AwaitPlan) -> Result<(), Stop> {
        let end = Instant::now() + plan.within;
        let counted = match &plan.until {
            Condition::Answers { probe, .. } => self.case.probes.get(probe).map_or(0, |seen| seen.count()),
            Condition::BreakerOpen { .. } | Condition::Metric { .. } | Condition::Ended { .. } => 0,
        };
        while !self.is_so(&plan.until, counted)? {
            if Instant::now() > end {
                let text = format!("{} did not happen within {:?}", plan.until, plan.within);
                return if plan.or_go_on {
                    Ok(self.case.journal.append(&Entry::Note { text })?)
                } else {
                    Err(Stop::Invalid(text))
                };
            }
            self.case.operation.interrupt.check()?;
            self.case.operation.interrupt.sleep(LOOK);
        }
        Ok(())
    }

    fn is_so(&self, condition: &Condition, counted: u64) -> Result<bool, Stop> {
        let metric = |replica: &Target, series: &str| -> Result<Option<f64>, Stop> {
            let endpoints = self.case.session.endpoints()?;
            let replica = endpoints.replicas.iter().find(|known| known.name == *replica);
            Ok(replica.and_then(|replica| metrics::value(&replica.metrics_url(), series)))
        };
        Ok(match condition {
            Condition::Answers { probe, count } => {
                self.case.probes.get(probe).is_some_and(|seen| seen.count() >= counted + count)
            }
            Condition::BreakerOpen { replica, dependency } => {
                metric(replica, &format!("breaker_state{{dependency=\"{dependency}\"}}"))? == Some(2.0)
            }
            Condition::Metric { replica, series, at_least } => {
                metric(replica, series)?.is_some_and(|value| value >= *at_least)
            }
            Condition::Ended { target } => {
                // The stack's watcher is not used: it ignores a server that a leak has ended, because a fault caused
                // it.
                let status = self.case.session.status()?;
                status.servers().any(|(name, _, server)| name == *target && server.state == State::Stopped)
            }
        })
    }

    fn ask(&self, plan: &AskPlan) -> Result<(), Stop> {
        let end = Instant::now() + plan.within;
        loop {
            let endpoints = self.case.session.endpoints()?;
            let answer = prober::ask(plan.via.url(&endpoints), &plan.method, &plan.path, plan.body.as_deref());
            if answer.fits(&plan.expect) {
                return Ok(());
            }
            if Instant::now() > end {
                return Err(Stop::Invalid(format!("{} {}: {answer}, and not as expected", plan.method, plan.path)));
            }
            self.case.operation.interrupt.check()?;
            self.case.operation.interrupt.sleep(LOOK_SLOWLY);
        }
    }
}

impl Action {
    /// Whether the action requires a steady state before it.
    fn breaks(&self) -> bool {
        match self {
            Self::Fault(_) | Self::Restart(_) | Self::Scale(_) => true,
            Self::Heal(_) | Self::Await(_) | Self::Ask(_) | Self::Wait(_) | Self::Mark(_) => false,
        }
    }
}

impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fault(FaultPlan { target, kind }) => write!(f, "{kind} {target}"),
            Self::Heal(HealPlan::All) => f.write_str("heal everything"),
            Self::Heal(HealPlan::Target(target)) => write!(f, "heal {target}"),
            Self::Restart(Restart::Rolling) => f.write_str("restart the replicas one by one"),
            Self::Restart(Restart::AllAtOnce) => f.write_str("restart all replicas at once"),
            Self::Scale(replicas) => write!(f, "scale to {replicas} replicas"),
            Self::Await(plan) => write!(f, "wait until {}", plan.until),
            Self::Ask(plan) => write!(f, "ask {} {}", plan.method, plan.path),
            Self::Wait(time) => write!(f, "wait {}", loadgen::duration::format(*time)),
            Self::Mark(name) => write!(f, "mark {name}"),
        }
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BreakerOpen { replica, dependency } => write!(f, "the breaker of {replica} for {dependency} is open"),
            Self::Answers { probe, count } => write!(f, "the probe {probe} has {count} more answers"),
            Self::Metric { replica, series, at_least } => write!(f, "{series} of {replica} is at least {at_least}"),
            Self::Ended { target } => write!(f, "{target} ends"),
        }
    }
}
