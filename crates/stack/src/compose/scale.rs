//! Changes the topology of a running stack. Compose has no rolling update, so containers are replaced one by one here.

use super::{ComposeRecord, await_up, docker::docker, up};
use crate::{Operation, StackError, State, Target, Topology, folder::Folder, topology::Restart};

pub(super) fn configure(
    folder: &Folder,
    record: &mut ComposeRecord,
    wanted: &Topology,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let runs_alike = record.topology.runs_alike(wanted);
    record.topology = wanted.clone();
    record.save(folder)?;
    if !runs_alike {
        for (target, container) in record.replicas()? {
            operation.interrupt.check()?;
            operation.progress.begin(&format!("replacing {target}"));
            docker(&["stop", &container.id])?;
            docker(&["rm", &container.id])?;
            up::follow_topology(folder, record, operation)?;
            await_running(record, operation)?;
            operation.progress.end("done");
        }
    }
    operation.progress.begin(&format!("scaling to {}", wanted.replicas));
    up::follow_topology(folder, record, operation)?;
    await_running(record, operation)?;
    operation.progress.end("done");
    Ok(())
}

/// Restarts the running replicas.
pub(super) fn restart(record: &ComposeRecord, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError> {
    let mut running = record.replicas()?;
    running.retain(|(_, container)| container.state() != State::Stopped);
    if let Some((name, _)) = running.iter().find(|(_, container)| container.state() == State::Paused) {
        let text = format!("{name} is paused and cannot be restarted; `lab heal` undoes that");
        return Err(StackError::Conflict(text));
    }
    let groups: Vec<Vec<(Target, String)>> = match restart {
        Restart::Rolling => running.into_iter().map(|(name, container)| vec![(name, container.id)]).collect(),
        Restart::AllAtOnce => vec![running.into_iter().map(|(name, container)| (name, container.id)).collect()],
    };
    for group in groups.iter().filter(|group| !group.is_empty()) {
        operation.interrupt.check()?;
        let names = group.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
        operation.progress.begin(&format!("restarting {names}"));
        for word in ["stop", "start"] {
            let ids = group.iter().map(|(_, id)| id.as_str());
            docker(&std::iter::once(word).chain(ids).collect::<Vec<_>>())?;
        }
        for (name, _) in group {
            await_up(record, *name, operation)?;
        }
        operation.progress.end("done");
    }
    Ok(())
}

/// Waits for the running replicas; a fault may have stopped others.
fn await_running(record: &ComposeRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    for (target, container) in record.replicas()? {
        if matches!(container.state(), State::Up | State::Starting) {
            await_up(record, target, operation)?;
        }
    }
    Ok(())
}
