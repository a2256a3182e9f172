//! Starting any one server of the record and waiting until it answers.

use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};

use super::{
    ProcessRecord, Target,
    family::Family,
    launch::{Launch, Started},
    nginx, ports, postgres,
    probe::{self, Depth},
    redis, replica,
};
use crate::{Operation, StackError, folder::Folder};

/// How long a server may take until it answers, on a busy machine. Postgres may have to recover from a crash.
fn longest_start(target: Target) -> Duration {
    Duration::from_secs(match target {
        Target::Postgres => 90,
        Target::Redis | Target::Nginx | Target::Api(_) => 30,
    })
}

fn definition(folder: &Folder, record: &ProcessRecord, target: Target) -> Result<Launch, StackError> {
    Ok(match target {
        Target::Postgres => postgres::launch(folder, record),
        Target::Redis => redis::launch(folder, record),
        Target::Nginx => nginx::launch(folder, record),
        Target::Api(number) => replica::launch(folder, record, number)?,
    })
}

/// Starts a server of which nothing runs; a worker that outlived its leader is ended first.
pub(super) fn start(folder: &Folder, record: &ProcessRecord, target: Target) -> Result<Started, StackError> {
    Family::find(folder, &target.to_string())?.kill()?;
    if target == Target::Postgres {
        postgres::sweep(folder);
    }
    let port = record.port(target);
    if !ports::is_free(port) {
        let holder = ports::holder(port);
        return Err(StackError::Conflict(format!("{target}'s port {port} was taken meanwhile by {holder}")));
    }
    definition(folder, record, target)?.start(folder)
}

/// Returns when the server answers; an error when it ends or stays silent.
pub(super) fn await_ready(
    record: &ProcessRecord,
    target: Target,
    depth: Depth,
    started: &mut Started,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let limit = longest_start(target);
    let ready = operation.interrupt.wait_for(limit, || {
        if let Some(status) = started.ended()? {
            return Err(started.failure(target, format!("it ended ({status})")));
        }
        Ok(probe::answers(target, record.port(target), depth).then_some(()))
    })?;
    ready.ok_or_else(|| {
        let silent = format!("it runs but did not answer on port {} within {} s", record.port(target), limit.as_secs());
        started.failure(target, silent)
    })
}

/// A dead child stays in the table of processes until its parent has asked for it.
pub(super) fn collect_if_child(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
