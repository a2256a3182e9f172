//! Undoing faults, and starting again what does not run for whatever reason.

use std::time::Duration;

use super::{
    ProcessRecord, Server,
    family::Family,
    packet_filter,
    probe::{self, Depth},
    server,
};
use crate::{FaultKind, Operation, StackError, Target, folder::Folder};

/// A server that was frozen answers at once; on a busy machine it has a heap of requests to look at first.
const LONGEST_WAKE: Duration = Duration::from_secs(30);

/// Returns a line for each thing done. Doing it again does nothing.
pub(super) fn heal(
    folder: &Folder,
    record: &mut ProcessRecord,
    only: Option<Target>,
    operation: &Operation<'_>,
) -> Result<Vec<String>, StackError> {
    // In the record's order: dependencies before replicas, so that these find what they need.
    let all = record.servers.iter().map(|server| server.name);
    let concerned: Vec<Target> = all.filter(|name| only.is_none_or(|only| only == *name)).collect();
    let mut done = Vec::new();
    let outcome = undo(folder, record, &concerned, &mut done, operation);
    record.save(folder)?;
    outcome.map(|()| done)
}

fn undo(
    folder: &Folder,
    record: &mut ProcessRecord,
    concerned: &[Target],
    done: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // First what takes no time, for all.
    for target in concerned {
        if record.server(*target).map_or(Ok(false), reconnect)? {
            done.push(format!("{target}: connected again"));
        }
        let family = Family::find(folder, &target.to_string())?;
        if family.resume()? > 0 && family.leader().is_some() {
            done.push(format!("{target}: resumed"));
        }
        if family.leader().is_some() {
            record.set_fault(*target, None);
        }
    }
    for target in concerned {
        operation.interrupt.check()?;
        if Family::find(folder, &target.to_string())?.leader().is_none() {
            operation.progress.begin(&format!("starting {target}"));
            let mut started = server::start(folder, record, *target)?;
            server::await_ready(record, *target, Depth::Itself, &mut started, operation)?;
            let address = format!("127.0.0.1:{}", record.port(*target));
            operation.progress.end(&address);
            done.push(format!("{target}: started again on {address}"));
            record.set_fault(*target, None);
        }
    }
    concerned.iter().try_for_each(|target| await_answer(record, *target, operation))
}

/// True when the server was cut off.
pub(super) fn reconnect(server: &Server) -> Result<bool, StackError> {
    let cut = server.fault == Some(FaultKind::Cut);
    if cut {
        packet_filter::open(server.port)?;
    }
    Ok(cut)
}

fn await_answer(record: &ProcessRecord, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
    let answers = || Ok(probe::answers(target, record.port(target), Depth::Itself).then_some(()));
    let answered = operation.interrupt.wait_for(LONGEST_WAKE, answers)?;
    answered.ok_or_else(|| {
        let seconds = LONGEST_WAKE.as_secs();
        StackError::Conflict(format!("{target} runs but has not answered for {seconds} s; see its log (`lab status`)"))
    })
}
