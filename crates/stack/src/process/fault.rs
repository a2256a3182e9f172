//! Faults of a whole server, and the undo of those that can be undone at once.

use super::{ProcessRecord, ProcessTree, packet_filter, replica};
use crate::{Operation, StackError, Target, fault::ServerFault, folder::Folder, supervise::stop};

/// Returns a description of what was done.
pub(super) fn inject(
    folder: &Folder,
    record: &ProcessRecord,
    fault: ServerFault,
    target: Target,
    operation: &Operation<'_>,
) -> Result<String, StackError> {
    let tree = ProcessTree::find(folder, &target.to_string())?;
    match fault {
        ServerFault::Kill => Ok(format!("killed ({})", processes(tree.kill()?))),
        ServerFault::Pause => Ok(format!("paused ({})", processes(tree.pause()?))),
        ServerFault::Stop => shut_down(&tree, target, operation),
        ServerFault::Cut => {
            let port = record.port(target);
            packet_filter::close(folder, port)?;
            Ok(format!("isolated (packets to and from port {port} are dropped)"))
        }
        ServerFault::Crash => {
            let leader = tree.leader().ok_or_else(|| StackError::Conflict(format!("{target} is not running")))?;
            replica::tell(record, leader.id, &["crash"])?;
            Ok("crashed (abort)".to_owned())
        }
    }
}

/// Returns descriptions of what was undone.
pub(super) fn restore(
    folder: &Folder,
    record: &ProcessRecord,
    target: Target,
    cut: bool,
) -> Result<Vec<String>, StackError> {
    let mut done = Vec::new();
    if packet_filter::open(folder, record.port(target), cut)? {
        done.push("connected again".to_owned());
    }
    let tree = ProcessTree::find(folder, &target.to_string())?;
    if tree.resume()? > 0 && tree.leader().is_some() {
        done.push("resumed".to_owned());
    }
    Ok(done)
}

fn shut_down(tree: &ProcessTree, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
    let (signal, patience) = stop::farewell(&target.to_string());
    stop::ask(tree, signal)?;
    let gone = operation.interrupt.wait_for(patience, || Ok(tree.leader().is_none().then_some(())))?;
    let killed = tree.kill()?;
    Ok(match gone {
        Some(()) => "stopped".to_owned(),
        None => format!("did not stop within {} s and was killed ({})", patience.as_secs(), processes(killed)),
    })
}

fn processes(count: usize) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}
