//! Breaking a container, and confirming that it is broken.

use std::time::Duration;

use super::{ComposeRecord, Fault, container::Container, docker::docker};
use crate::{FaultKind, Operation, StackError, State, Target, folder::Folder};

/// The engine notices a death at once; it may have others to look after.
const LONGEST_DEATH: Duration = Duration::from_secs(20);

pub(super) fn inject(
    folder: &Folder,
    record: &mut ComposeRecord,
    kind: FaultKind,
    target: Target,
    operation: &Operation<'_>,
) -> Result<String, StackError> {
    let containers = record.containers()?;
    let find = |wanted| containers.iter().find(|(name, _)| *name == wanted).map(|(_, container)| container);
    let conflict = |how: &str| Err(StackError::Conflict(format!("{target} {how}; `lab heal` undoes that")));
    let Some(container) = find(target).filter(|container| container.state() != State::Stopped) else {
        return conflict("is not running");
    };
    if record.fault(target).is_some_and(|fault| fault.kind == FaultKind::Cut) {
        return conflict("is cut off already");
    }
    let is_paused = container.state() == State::Paused;
    if is_paused && matches!(kind, FaultKind::Pause | FaultKind::Cut) {
        return conflict("is paused already");
    }
    let networks = if kind == FaultKind::Cut { container.networks() } else { Vec::new() };
    // A crash is undone by the restart policy and not by us.
    let noted = (kind != FaultKind::Kill).then(|| Fault { target, kind, networks: networks.clone() });
    record.set_fault(target, noted);
    record.save(folder)?;
    match kind {
        FaultKind::Kill => {
            if is_paused {
                // The kernel ends frozen processes of a container only when they are thawed.
                docker(&["unpause", &container.id])?;
            }
            // Every one of our images but the API's has a shell; Postgres's is there in any case.
            let helper = find(Target::Postgres).or(find(Target::Redis)).or(find(Target::Nginx));
            let Some(helper) = helper else { return conflict("cannot be killed without an image that has a shell") };
            crash(container, helper.image())?;
            await_death(record, target, container, operation)?;
            Ok(format!("{target}: killed; the restart policy starts it again"))
        }
        FaultKind::Stop => {
            if is_paused {
                docker(&["unpause", &container.id])?;
            }
            docker(&["stop", &container.id])?;
            Ok(format!("{target}: stopped"))
        }
        FaultKind::Pause => {
            docker(&["pause", &container.id])?;
            Ok(format!("{target}: paused"))
        }
        FaultKind::Cut => {
            for network in &networks {
                docker(&["network", "disconnect", "--force", &network.name, &container.id])?;
            }
            let names: Vec<&str> = networks.iter().map(|network| network.name.as_str()).collect();
            Ok(format!("{target}: cut off from {}", names.join(", ")))
        }
    }
}

/// `docker kill` counts as a stop by hand, after which no restart policy acts; and a signal from inside does not reach
/// the first process of a container. So it comes from the engine's own process space.
fn crash(container: &Container, image: &str) -> Result<(), StackError> {
    let script = format!("kill -9 {}", container.pid());
    let safe = ["--rm", "--pid", "host", "--network", "none", "--cap-drop", "ALL", "--cap-add", "KILL", "--user", "0"];
    docker(&[&["run"], &safe[..], &["--entrypoint", "sh", image, "-c", &script]].concat()).map(drop)
}

fn await_death(
    record: &ComposeRecord,
    target: Target,
    before: &Container,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let died = operation.interrupt.wait_for(LONGEST_DEATH, || {
        let now = record.containers()?;
        let lives = now.iter().any(|(name, container)| {
            *name == target && container.pid() == before.pid() && container.started_at() == before.started_at()
        });
        Ok((!lives).then_some(()))
    })?;
    died.ok_or_else(|| StackError::Conflict(format!("{target} was killed but still runs")))
}
