//! More or fewer replicas while the stack runs, without a failed request.

use super::{ProcessRecord, Server, Target, heal, nginx, observe, ports::Choice, probe::Depth, start, stop};
use crate::{Operation, StackError, folder::Folder};

pub(super) fn scale(
    folder: &Folder,
    record: &mut ProcessRecord,
    wanted: u32,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let present: Vec<Target> = record.replicas().collect();
    let new: Vec<Target> = (1..=wanted).map(Target::Api).filter(|name| !present.contains(name)).collect();
    let surplus: Vec<Target> = present.into_iter().filter(|name| *name > Target::Api(wanted)).collect();
    if !new.is_empty() {
        add(folder, record, &new, operation)?;
    }
    if !surplus.is_empty() {
        remove(folder, record, &surplus, operation)?;
    }
    Ok(())
}

/// nginx learns of them when they answer.
fn add(
    folder: &Folder,
    record: &mut ProcessRecord,
    new: &[Target],
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut leases = Vec::new();
    for name in new {
        let last = record.replicas().map(|replica| record.port(replica)).max().unwrap_or(0);
        let lease = Choice::FromUsual.lease(last.saturating_add(1))?;
        record.servers.push(Server { name: *name, port: lease.port, fault: None });
        leases.push(lease);
    }
    record.servers.sort_by_key(|server| server.name);
    record.save(folder)?;
    let added = start::replicas(folder, record, new, Depth::Itself, operation)
        .and_then(|()| nginx::follow_replicas(folder, record))
        .and_then(|()| observe::follow_replicas(folder, record));
    if added.is_err() {
        remove(folder, record, new, operation)?;
    }
    added
}

/// nginx lets go of them before they drain.
fn remove(
    folder: &Folder,
    record: &mut ProcessRecord,
    surplus: &[Target],
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // A cut would outlive the replica.
    for server in record.servers.iter().filter(|server| surplus.contains(&server.name)) {
        heal::reconnect(server)?;
    }
    let mut rest = record.clone();
    rest.servers.retain(|server| !surplus.contains(&server.name));
    nginx::follow_replicas(folder, &rest)?;
    // Forgotten first, so that no watcher takes their end for a death.
    *record = rest;
    record.save(folder)?;
    observe::follow_replicas(folder, record)?;
    stop::stop_together(folder, &surplus.iter().map(ToString::to_string).collect::<Vec<_>>(), operation).map(drop)
}
