//! Changes the topology of a running stack without a failed request: more or fewer replicas, replicas with other
//! settings.

use super::{
    Depth, ProcessRecord, ProcessTree, Server, Target, cpu_quota, nginx, observe, packet_filter, ports::Choice, start,
};
use crate::{Operation, StackError, Topology, folder::Folder, supervise::stop, topology::Restart};

/// First the replicas that stay are reconfigured, then others are added or removed.
pub(super) fn configure(
    folder: &Folder,
    record: &mut ProcessRecord,
    wanted: &Topology,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    if wanted.cpus.is_some() {
        cpu_quota::check_machine(folder)?;
    }
    let runs_alike = record.topology.runs_alike(wanted);
    record.topology = Topology { replicas: record.topology.replicas, ..wanted.clone() };
    record.save(folder)?;
    let surplus: Vec<Target> = record.replicas().filter(|name| *name > Target::Api(wanted.replicas)).collect();
    if !surplus.is_empty() {
        remove(folder, record, &surplus, operation)?;
    }
    if !runs_alike {
        restart(folder, record, Restart::Rolling, operation)?;
        // It limits the requests at a time to what the replicas admit now.
        nginx::follow_replicas(folder, record)?;
    }
    let present: Vec<Target> = record.replicas().collect();
    let new: Vec<Target> = (1..=wanted.replicas).map(Target::Api).filter(|name| !present.contains(name)).collect();
    if !new.is_empty() {
        add(folder, record, &new, operation)?;
    }
    record.topology.replicas = wanted.replicas;
    record.save(folder)
}

/// Restarts the running replicas; a replica that a fault killed or stopped stays down and gets the new settings when it
/// is healed.
pub(super) fn restart(
    folder: &Folder,
    record: &ProcessRecord,
    restart: Restart,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut running = Vec::new();
    for name in record.replicas() {
        if let Some(leader) = ProcessTree::find(folder, &name.to_string())?.leader() {
            if leader.is_stopped() {
                let text = format!("{name} is paused and cannot be restarted; `lab heal` undoes that");
                return Err(StackError::Conflict(text));
            }
            running.push(name);
        }
    }
    match restart {
        Restart::AllAtOnce => together(folder, record, &running, operation),
        Restart::Rolling if running.len() == 1 => together(folder, record, &running, operation),
        // Without a new list for nginx: a reload closes the clients' idle connections, and a request that a client sends at that
        // moment is lost. A replica that drains says so on each connection, and then refuses; nginx asks another one.
        Restart::Rolling => running.iter().try_for_each(|name| {
            operation.interrupt.check()?;
            together(folder, record, &[*name], operation)
        }),
    }
}

fn together(
    folder: &Folder,
    record: &ProcessRecord,
    names: &[Target],
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    stop::stop_together(folder, &texts(names), operation)?;
    start::replicas(folder, record, names, Depth::Itself, operation)
}

/// nginx gets the new replicas when they answer.
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
        record.servers.push(Server { name: *name, port: lease.port });
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

/// nginx stops using them before they drain.
fn remove(
    folder: &Folder,
    record: &mut ProcessRecord,
    surplus: &[Target],
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // Otherwise a cut outlives the replica.
    for server in record.servers.iter().filter(|server| surplus.contains(&server.name)) {
        packet_filter::open(folder, server.port, false)?;
    }
    let mut rest = record.clone();
    rest.servers.retain(|server| !surplus.contains(&server.name));
    rest.topology.replicas = rest.replicas().count() as u32;
    nginx::follow_replicas(folder, &rest)?;
    // Removed from the record first, so that no watcher reports them as dead.
    *record = rest;
    record.save(folder)?;
    observe::follow_replicas(folder, record)?;
    stop::stop_together(folder, &texts(surplus), operation).map(drop)
}

fn texts(names: &[Target]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}
