//! A proxy before a dependency, for faults of the network. It runs in the network of the dependency's own container: a packet
//! filter there leads what comes from outside to the proxy instead, so nobody has to be told another address. Connections
//! that were open before are reset, and come again through the proxy. All of it ends with the container.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    time::Duration,
};

use super::{
    ComposeRecord,
    container::Container,
    container_network::{self, run},
};
use crate::{
    Operation, StackError, Target,
    agent::{self, AgentTask},
    fault::Shape,
    folder::{Folder, write_private},
    probe,
    supervise::process_tree::ProcessTree,
};

const TABLE: &str = "phase_observation_proxy";

/// What a bad network is called in messages.
const WHAT: &str = "a bad network between containers";

const LONGEST_START: Duration = Duration::from_secs(10);

/// Where it is reached from outside; the proxy is put before it if it is not there.
pub(super) fn between(
    folder: &Folder,
    record: &ComposeRecord,
    target: Target,
    agent: &Path,
    operation: &Operation<'_>,
) -> Result<SocketAddr, StackError> {
    let container = record.running(target)?;
    container_network::check(WHAT)?;
    let port = super::port(target);
    let gone = || StackError::Conflict(format!("{target} has no address any more; `lab heal` undoes that"));
    let ip: IpAddr = container.address().and_then(|ip| ip.parse().ok()).ok_or_else(gone)?;
    let address = SocketAddr::new(ip, port);
    let is_led = run(nft(&container)?.args(["list", "table", "ip", TABLE]), WHAT).is_ok();
    if is_led && ProcessTree::find(folder, &name(target))?.leader().is_some() {
        return Ok(address);
    }
    operation.progress.note(&format!("the connections to {target} are reset once, to pass through a proxy"));
    // One that was started in the network of a container that has ended serves nobody.
    ProcessTree::find(folder, &name(target))?.kill()?;
    let shape = folder.proxy(target);
    write_private(&shape, &serde_json::to_string(&Shape::default()).unwrap_or_default())?;
    let listen = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), proxy_port(port));
    let task = AgentTask::Proxy { listen, upstream: address, shape };
    agent::start_in_network_of(folder, agent, &name(target), &task, container.pid())?;
    let listens = || Ok(probe::accepts(SocketAddr::new(ip, listen.port())).then_some(()));
    operation.interrupt.wait_for(LONGEST_START, listens)?.ok_or_else(|| {
        StackError::Conflict(format!("the proxy before {target} does not start; see its log in the state folder"))
    })?;
    if !is_led {
        run(nft(&container)?.arg(rules(port)), WHAT)?;
    }
    Ok(address)
}

/// What comes from outside goes to the proxy; what the proxy itself sends does not leave the loopback interface. A packet that
/// still arrives at the port belongs to a connection of before.
fn rules(port: u16) -> String {
    let proxy = proxy_port(port);
    format!(
        "table ip {TABLE} {{\n chain there {{\n type nat hook prerouting priority -100;\n \
         iifname != lo tcp dport {port} redirect to :{proxy};\n }}\n chain before {{\n \
         type filter hook input priority -5;\n iifname != lo tcp dport {port} reject with tcp reset;\n }}\n }}\n"
    )
}

/// Nothing else listens in such a container.
fn proxy_port(port: u16) -> u16 {
    port + 10_000
}

fn nft(container: &Container) -> Result<Command, StackError> {
    container_network::inside(container, WHAT)
}

fn name(target: Target) -> String {
    format!("proxy-{target}")
}
