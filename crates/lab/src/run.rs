//! Carries an experiment out on a running stack. This is the only place that acts; everything it learns goes into the
//! journal.
//!
//! # In the order of time, for each arm
//! ## Shape
//! The stack gets the arm's replicas, switches and quota, and is waited for until all is well.
//! ## Gate
//! The load and the probes start. Before the first step that breaks something, what they got so far has to be good;
//! otherwise nothing is broken and the arm is invalid.
//! ## Steps
//! Each is noted before it acts. A fault's effect is confirmed from outside by the stack itself.
//! ## Undo
//! Whatever is still broken when the load is over is undone: also after a failure, an interrupt or a panic (the session
//! undoes its faults when it is dropped), and after `kill -9` by `lab heal`.
//! ## Recovery
//! Counted from the undoing to the first good answer of every probe.

pub(crate) mod announcement;
mod arm;
mod gate;
mod live;
mod load;
mod steps;
pub(crate) mod undo;
mod workplace;

use std::path::PathBuf;

use loadgen::Machine;
use stack::{DriverKind, Operation, Session, Silent, StackError};
use time::OffsetDateTime;

pub use self::{live::Live, workplace::Workplace};
use crate::{
    experiment::{Experiment, Pace, Scale},
    journal::{Begin, Ending, Entry, JournalError, SCHEMA, Writer},
};

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct RunPlan {
    pub experiment: Experiment,
    pub scale: Scale,
    pub seed: u64,
    /// Each arm so many times, interleaved.
    pub repeats: u32,
    /// How much more than its bound a time may be, as a part of it.
    pub allowance: f64,
    /// What repeats the run.
    pub command: String,
    /// The journal; it must not be there yet.
    pub journal: PathBuf,
}

/// Runs every arm. What was seen is in the journal, also when this fails.
///
/// # Errors
/// The stack could not be brought into shape or put back, the journal could not be written, or it was interrupted. A
/// hypothesis that deviates is no error.
pub fn run(
    plan: &RunPlan,
    session: &Session,
    driver: DriverKind,
    live: &Live<'_>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let journal = Writer::create(&plan.journal)?;
    journal.append(&Entry::Begin(Box::new(begin(plan, driver, session))))?;
    let outcome = arms(plan, session, &journal, live, operation);
    let ending = match &outcome {
        Ok(()) => Ending::Complete,
        Err(StackError::Interrupted) => Ending::Interrupted,
        Err(error) => Ending::Failed(error.to_string()),
    };
    let ended = journal.append(&Entry::End { ending, at: OffsetDateTime::now_utc() });
    outcome?;
    Ok(ended?)
}

fn arms(
    plan: &RunPlan,
    session: &Session,
    journal: &Writer,
    live: &Live<'_>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut achieved = std::collections::BTreeMap::new();
    let changes = std::sync::Mutex::default();
    for repeat in 1..=plan.repeats {
        for arm in order(&plan.experiment, repeat) {
            operation.interrupt.check()?;
            let seed = plan.seed.wrapping_add(u64::from(repeat));
            let arm = arm::ArmPlan { arm, repeat, seed, achieved: &achieved, changes: &changes };
            let name = arm.arm.name.clone();
            operation.progress.begin(&format!("{} {}", plan.experiment.about.name, name));
            // The line that lives tells more than the steps of the stack.
            let quiet = Operation { progress: &Silent, interrupt: operation.interrupt.clone() };
            let goodput = arm::run(&arm, session, journal, live, &quiet)?;
            operation.progress.end("measured");
            if let Some(goodput) = goodput {
                achieved.insert(name, goodput);
            }
        }
    }
    Ok(())
}

/// Forth and back again, so that what changes with time falls to every arm alike; an arm that needs what another one
/// achieved stays behind it.
fn order(experiment: &Experiment, repeat: u32) -> Vec<&crate::experiment::Arm> {
    let mut arms: Vec<_> = experiment.arms.iter().collect();
    let needs_another =
        |arm: &&crate::experiment::Arm| matches!(arm.load.as_ref().map(|load| &load.pace), Some(Pace::Times { .. }));
    if repeat.is_multiple_of(2) && !arms.iter().any(needs_another) {
        arms.reverse();
    }
    arms
}

fn begin(plan: &RunPlan, driver: DriverKind, session: &Session) -> Begin {
    Begin {
        schema: SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: OffsetDateTime::now_utc(),
        command: plan.command.clone(),
        machine: Machine::this(),
        driver,
        build: session.endpoints().ok().and_then(|endpoints| build(&endpoints)).unwrap_or_default(),
        scale: plan.scale,
        seed: plan.seed,
        repeats: plan.repeats,
        allowance: plan.allowance,
        experiment: plan.experiment.clone(),
    }
}

/// What the replicas say of their build.
fn build(endpoints: &stack::Endpoints) -> Option<String> {
    let readings = crate::metrics::read(endpoints);
    readings.values().flat_map(|series| series.keys()).find(|name| name.starts_with("build_info{")).cloned()
}

impl From<JournalError> for StackError {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Write { path, source } => {
                Self::Io { what: format!("cannot write {}", path.display()), source }
            }
            JournalError::Read { path, source } => Self::Io { what: format!("cannot read {}", path.display()), source },
            other @ (JournalError::Foreign { .. } | JournalError::Schema { .. } | JournalError::Line { .. }) => {
                Self::Usage(other.to_string())
            }
        }
    }
}
