//! Undoing faults of containers, and starting again what does not run.

use std::time::Duration;

use super::{ComposeRecord, Network, container::Container, docker::docker, targets, up};
use crate::{Operation, StackError, State, Target, folder::Folder};

/// Postgres may have to recover; a health check runs every two seconds.
const LONGEST_START: Duration = Duration::from_secs(90);

/// Returns a line for each thing done. Doing it again does nothing.
pub(super) fn heal(
    folder: &Folder,
    record: &mut ComposeRecord,
    only: Option<Target>,
    operation: &Operation<'_>,
) -> Result<Vec<String>, StackError> {
    let mut done = Vec::new();
    let outcome = undo(folder, record, only, &mut done, operation);
    record.save(folder)?;
    outcome.map(|()| done)
}

fn undo(
    folder: &Folder,
    record: &mut ComposeRecord,
    only: Option<Target>,
    done: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let containers = record.containers()?;
    let mut concerned = targets(record, &containers);
    concerned.retain(|target| only.is_none_or(|only| only == *target));
    let mut missing = Vec::new();
    for target in &concerned {
        operation.interrupt.check()?;
        let Some((_, container)) = containers.iter().find(|(name, _)| name == target) else {
            missing.push(*target);
            continue;
        };
        let networks = record.fault(*target).map(|fault| fault.networks.clone()).unwrap_or_default();
        if reconnect(container, &networks)? {
            done.push(format!("{target}: connected again"));
        }
        match container.state() {
            State::Paused => {
                docker(&["unpause", &container.id])?;
                done.push(format!("{target}: resumed"));
            }
            State::Stopped => {
                docker(&["start", &container.id])?;
                done.push(format!("{target}: started again"));
            }
            State::Starting => done.push(format!("{target}: up again")),
            State::Up => {}
        }
        record.set_fault(*target, None);
    }
    if !missing.is_empty() {
        up::recreate_missing(folder, record, operation)?;
        done.extend(missing.iter().map(|target| format!("{target}: created again")));
    }
    concerned
        .iter()
        .filter(|target| !missing.contains(target))
        .try_for_each(|target| await_up(record, *target, operation))
}

/// True when there was anything to connect.
fn reconnect(container: &Container, networks: &[Network]) -> Result<bool, StackError> {
    let connected = container.networks();
    let lost: Vec<&Network> =
        networks.iter().filter(|network| connected.iter().all(|now| now.name != network.name)).collect();
    for network in &lost {
        let mut words = vec!["network", "connect"];
        for alias in &network.aliases {
            words.extend(["--alias", alias]);
        }
        words.extend([network.name.as_str(), &container.id]);
        docker(&words)?;
    }
    Ok(!lost.is_empty())
}

pub(super) fn await_up(record: &ComposeRecord, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
    let is_up = operation.interrupt.wait_for(LONGEST_START, || {
        let up = |(name, container): &(Target, Container)| *name == target && container.state() == State::Up;
        Ok(record.containers()?.iter().any(up).then_some(()))
    })?;
    is_up.ok_or_else(|| {
        let seconds = LONGEST_START.as_secs();
        StackError::Conflict(format!("{target} is not healthy after {seconds} s; see `docker compose logs`"))
    })
}
