//! Faults of a whole container, and the undo of those that can be undone at once.

use super::{ComposeRecord, container::Container, cut, docker::docker};
use crate::{StackError, State, Target, fault::ServerFault};

/// Returns a description of what was done.
pub(super) fn inject(record: &ComposeRecord, fault: ServerFault, target: Target) -> Result<String, StackError> {
    let container = record.container(target)?;
    let container = container.ok_or_else(|| StackError::Conflict(format!("{target} has no container")))?;
    let id = container.id.as_str();
    match fault {
        ServerFault::Kill => {
            thaw(&container)?;
            // Counts as a manual stop, after which no restart policy acts: it stays dead until it is healed.
            docker(&["kill", "--signal", "KILL", id])?;
            Ok("killed".to_owned())
        }
        ServerFault::Stop => {
            thaw(&container)?;
            docker(&["stop", id])?;
            Ok("stopped".to_owned())
        }
        ServerFault::Pause => {
            docker(&["pause", id])?;
            Ok("paused".to_owned())
        }
        ServerFault::Cut => {
            cut::close(&container)?;
            Ok("isolated (every packet to and from its container is dropped)".to_owned())
        }
        ServerFault::Crash => {
            // Its last command gets no answer: the process that would give it is gone, and the container with it.
            let told = docker(&["exec", id, "api", "fault", "crash"]);
            let crashed = || record.container(target).is_ok_and(|now| now.and_then(|now| now.run()) != container.run());
            told.map(drop).or_else(|error| if crashed() { Ok(()) } else { Err(error) })?;
            Ok("crashed (abort)".to_owned())
        }
    }
}

/// Returns descriptions of what was undone.
pub(super) fn restore(record: &ComposeRecord, target: Target, is_cut: bool) -> Result<Vec<String>, StackError> {
    let Some(container) = record.container(target)? else { return Ok(Vec::new()) };
    let mut done = Vec::new();
    if cut::open(&container, is_cut)? {
        done.push("connected again".to_owned());
    }
    if thaw(&container)? {
        done.push("resumed".to_owned());
    }
    Ok(done)
}

/// The kernel ends the frozen processes of a container only after they are thawed.
fn thaw(container: &Container) -> Result<bool, StackError> {
    let is_paused = container.state() == State::Paused;
    if is_paused {
        docker(&["unpause", &container.id])?;
    }
    Ok(is_paused)
}
