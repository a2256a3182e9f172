//! Starting one server of the record and waiting until it answers.

use std::time::Duration;

use super::{
    ProcessRecord, ProcessTree, Target, nginx, ports, postgres,
    probe::{self, Depth},
    proxies, redis, replica,
};
use crate::{
    Operation, StackError,
    folder::Folder,
    supervise::launch::{Launch, Started},
};

/// A thawed server answers at once; on a busy machine it has many queued requests to process first.
const LONGEST_WAKE: Duration = Duration::from_secs(30);

/// The longest time until a server answers, on a busy machine. Postgres may have to recover from a crash.
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

/// Starts a server that does not run; a worker that outlived its leader is killed first.
pub(super) fn start(folder: &Folder, record: &ProcessRecord, target: Target) -> Result<Started, StackError> {
    ProcessTree::find(folder, &target.to_string())?.kill()?;
    if target == Target::Postgres {
        postgres::sweep(folder);
    }
    let port = record.port(target);
    if !ports::is_free(port) {
        let holder = ports::holder(port);
        return Err(StackError::Conflict(format!("{target}'s port {port} is now used by {holder}")));
    }
    definition(folder, record, target)?.start(folder)
}

/// Returns when the server answers; an error if it ends or does not answer.
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
        let silent =
            format!("it runs, but did not answer on port {} within {} s", record.port(target), limit.as_secs());
        started.failure(target, silent)
    })
}

/// Starts a server that does not run and waits until it answers; also its proxy, if it has one. `None`: both run.
pub(super) fn start_again(
    folder: &Folder,
    record: &ProcessRecord,
    target: Target,
    operation: &Operation<'_>,
) -> Result<Option<String>, StackError> {
    if ProcessTree::find(folder, &target.to_string())?.leader().is_some() {
        return proxies::keep_running(folder, record, target, operation);
    }
    operation.progress.begin(&format!("starting {target}"));
    let mut started = start(folder, record, target)?;
    await_ready(record, target, Depth::Itself, &mut started, operation)?;
    let address = format!("127.0.0.1:{}", record.port(target));
    operation.progress.end(&address);
    proxies::keep_running(folder, record, target, operation)?;
    Ok(Some(format!("started again on {address}")))
}

/// Waits until a running server answers.
pub(super) fn await_answer(
    record: &ProcessRecord,
    target: Target,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let answers = || Ok(probe::answers(target, record.port(target), Depth::Itself).then_some(()));
    let answered = operation.interrupt.wait_for(LONGEST_WAKE, answers)?;
    answered.ok_or_else(|| {
        let seconds = LONGEST_WAKE.as_secs();
        StackError::Conflict(format!("{target} runs, but has not answered for {seconds} s; see its log (`lab status`)"))
    })
}
