//! Proxies between the replicas and a dependency, for network faults. A stack has none until one is needed; then the
//! replicas are restarted one by one, and from then on they reach that dependency through it.

use super::{ProcessRecord, ProcessTree, scale};
use crate::{
    Operation, StackError, Target,
    agent::{self, AgentTask},
    fault::Shape,
    folder::{Folder, write_private},
    probe,
    record::Record,
    supervise::ports::Choice,
    topology::Restart,
};

use std::{net::Ipv4Addr, path::Path, time::Duration};

const LONGEST_START: Duration = Duration::from_secs(10);

/// The port of the proxy in front of a dependency.
pub(super) fn between(
    folder: &Folder,
    record: &mut ProcessRecord,
    target: Target,
    agent: &Path,
    operation: &Operation<'_>,
) -> Result<u16, StackError> {
    if let Some(port) = record.proxies.get(&target).copied() {
        keep_running(folder, record, target, operation)?;
        return Ok(port);
    }
    operation.progress.note(&format!("restarting the replicas, so that they reach {target} through a proxy"));
    let choice = if record.port(Target::Nginx) >= 20_000 { Choice::Random } else { Choice::FromUsual };
    let lease = choice.lease(record.port(target).saturating_add(1))?;
    start(folder, record, target, lease.port, agent, operation)?;
    record.proxies.insert(target, lease.port);
    record.save(folder)?;
    let restarted = scale::restart(folder, record, Restart::Rolling, operation);
    restarted.map(|()| lease.port)
}

/// Restarts a proxy that has died.
pub(super) fn keep_running(
    folder: &Folder,
    record: &ProcessRecord,
    target: Target,
    operation: &Operation<'_>,
) -> Result<Option<String>, StackError> {
    let Some(port) = record.proxies.get(&target).copied() else { return Ok(None) };
    if ProcessTree::find(folder, &name(target))?.leader().is_some() {
        return Ok(None);
    }
    let known = Record::load(folder)?;
    let agent = known.map(|record| record.agent).unwrap_or_default();
    start(folder, record, target, port, &agent, operation)?;
    Ok(Some("its proxy started again".to_owned()))
}

fn start(
    folder: &Folder,
    record: &ProcessRecord,
    target: Target,
    port: u16,
    agent: &Path,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // A lab that was killed between starting a proxy and recording its port has left one.
    ProcessTree::find(folder, &name(target))?.kill()?;
    let shape = folder.proxy(target);
    let text = serde_json::to_string(&Shape::default()).unwrap_or_default();
    write_private(&shape, &text)?;
    let address = |port| (Ipv4Addr::LOCALHOST, port).into();
    let task = AgentTask::Proxy { listen: address(port), upstream: address(record.port(target)), shape };
    agent::start(folder, agent, &name(target), &task)?;
    // A connection to a dependency that does not run is refused through the proxy too.
    let passes = || {
        Ok((probe::reach(target, address(port)) == probe::reach(target, address(record.port(target)))).then_some(()))
    };
    let ready = || match ProcessTree::find(folder, &name(target))?.leader() {
        Some(_) => passes(),
        None => Err(StackError::Conflict(format!("the proxy in front of {target} has ended; see its log"))),
    };
    operation.interrupt.wait_for(LONGEST_START, ready)?.ok_or_else(|| {
        StackError::Conflict(format!("the proxy in front of {target} does not forward anything; see its log"))
    })
}

fn name(target: Target) -> String {
    format!("proxy-{target}")
}

/// The record with the ports that the replicas use: if there is a proxy, its port instead of the dependency's.
pub(super) fn as_replicas_see_it(record: &ProcessRecord) -> ProcessRecord {
    let mut seen = record.clone();
    for server in &mut seen.servers {
        server.port = record.proxies.get(&server.name).copied().unwrap_or(server.port);
    }
    seen
}
