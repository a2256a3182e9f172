//! Breaking a server, and confirming that it is broken.

use super::{ProcessRecord, family::Family, packet_filter, stop};
use crate::{FaultKind, Operation, StackError, Target, folder::Folder};

pub(super) fn inject(
    folder: &Folder,
    record: &mut ProcessRecord,
    fault: FaultKind,
    target: Target,
    operation: &Operation<'_>,
) -> Result<String, StackError> {
    let family = Family::find(folder, &target.to_string())?;
    let before = record.server(target).and_then(|server| server.fault);
    check(&family, before, fault, target)?;
    // Noted first: if this lab is killed in the middle, `heal` still knows.
    record.set_fault(target, Some(fault));
    record.save(folder)?;
    let port = record.port(target);
    match fault {
        FaultKind::Kill => Ok(format!("{target}: killed ({})", processes(family.kill()?))),
        FaultKind::Pause => Ok(format!("{target}: paused ({})", processes(family.pause()?))),
        FaultKind::Stop => shut_down(&family, target, operation),
        FaultKind::Cut => {
            packet_filter::close(port)?;
            Ok(format!("{target}: cut off (packets to and from port {port} are dropped)"))
        }
    }
}

/// Refuses what would change nothing, or could not be undone.
fn check(family: &Family, before: Option<FaultKind>, fault: FaultKind, target: Target) -> Result<(), StackError> {
    let conflict = |how: &str| Err(StackError::Conflict(format!("{target} {how}; `lab heal` undoes that")));
    let Some(leader) = family.leader() else {
        return conflict("is not running");
    };
    match fault {
        // One fault at a time, since the record keeps the last one.
        _ if before == Some(FaultKind::Cut) => conflict("is cut off already"),
        FaultKind::Pause if leader.is_stopped() => conflict("is paused already"),
        FaultKind::Cut if leader.is_stopped() => conflict("is paused already"),
        FaultKind::Cut => packet_filter::check(),
        FaultKind::Kill | FaultKind::Stop | FaultKind::Pause => Ok(()),
    }
}

fn shut_down(family: &Family, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
    let (signal, patience) = stop::manners(&target.to_string());
    stop::ask(family, signal)?;
    let gone = operation.interrupt.wait_for(patience, || Ok(family.leader().is_none().then_some(())))?;
    let killed = family.kill()?;
    Ok(match gone {
        Some(()) => format!("{target}: stopped"),
        None => {
            format!("{target}: did not stop within {} s and was killed ({})", patience.as_secs(), processes(killed))
        }
    })
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
