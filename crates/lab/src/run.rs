//! Runs an experiment on a running stack. This is the only module that acts on the stack; it records everything in the
//! journal.
//!
//! # In the order of time, for each arm
//! ## Shape
//! The stack is given the arm's replicas, switches and quota. The run waits until everything is healthy.
//! ## Gate
//! The load and the probes start. Their answers must be good before the first step that breaks something; otherwise
//! nothing is broken and the arm is invalid.
//! ## Steps
//! Each step is recorded before it acts. The stack confirms the effect of a fault from outside.
//! ## Undo
//! Whatever is still broken when the load ends is undone, also after a failure, an interrupt or a panic (the session
//! undoes its faults when it is dropped), and after `kill -9` by `lab heal`.
//! ## Recovery
//! The time from the undo to the first good answer of every probe.

mod alerts;
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
use stack::{DriverKind, HostEnvironment, Operation, Session, Silent, StackError};
use time::OffsetDateTime;

pub use self::{live::Live, workplace::Workplace};
use crate::{
    experiment::{Experiment, Pace, Scale},
    journal::{Begin, Ending, Entry, JournalError, SCHEMA, Writer},
};

/// The experiment, and the options of the run.
#[derive(Debug, Clone)]
pub struct RunPlan {
    pub experiment: Experiment,
    pub scale: Scale,
    pub seed: u64,
    /// How often each arm runs; the repetitions are interleaved.
    pub repeats: u32,
    /// The share of its bound by which a time may exceed it.
    pub allowance: f64,
    /// The command that repeats the run.
    pub command: String,
    /// Where Prometheus is looked for.
    pub host: HostEnvironment,
    /// The journal; it must not be there yet.
    pub journal: PathBuf,
}

/// Runs every arm. The observations are in the journal, even if this fails.
///
/// # Errors
/// The stack could not be brought into shape or restored, the journal could not be written, or the run was interrupted.
/// A hypothesis that deviates is not an error.
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
            let arm = arm::ArmPlan { arm, repeat, seed, achieved: &achieved, changes: &changes, host: &plan.host };
            let name = arm.arm.name.clone();
            operation.progress.begin(&format!("{} {}", plan.experiment.about.name, name));
            // The live line shows more than the steps of the stack.
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

/// Alternates the direction, so that drift affects every arm equally. An arm that needs the result of another one stays
/// behind it.
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

/// The build information of the replicas.
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
