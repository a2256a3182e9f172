//! Network faults between the replicas and a dependency: a proxy between them is given a shape.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::{FaultKind, injection::Site};
pub(crate) use crate::proxy::Shape;
use crate::{
    StackError, Target,
    error::Context,
    folder::{Folder, write_private},
    probe::{self, Reach},
    proxy::Mode,
    supervise::process_tree::ProcessTree,
};

/// A handshake over the worst network that can be configured.
const LONGEST_EXCHANGE: Duration = Duration::from_secs(65);
/// The most that a connection over loopback and the answer of a working server take; anything above is caused by the
/// proxy.
const LONGEST_UNDO: Duration = Duration::from_secs(10);

/// The proxy's port; the proxy is started if there is none.
pub(super) fn prepare(site: &Site<'_>, target: Target) -> Result<Value, StackError> {
    let port = site.driver.proxy(target, site.agent, site.operation)?;
    Ok(json!({ "port": port }))
}

pub(super) fn act(site: &Site<'_>, kind: &FaultKind, target: Target) -> Result<String, StackError> {
    let shape = match kind {
        FaultKind::Slow { latency, jitter, bandwidth } => Shape {
            latency_us: latency.as_micros() as u64,
            jitter_us: jitter.as_micros() as u64,
            bandwidth: *bandwidth,
            mode: Mode::Pass,
        },
        FaultKind::Reset => Shape { mode: Mode::Reset, ..Shape::default() },
        FaultKind::HalfOpen => Shape { mode: Mode::HalfOpen, ..Shape::default() },
        _ => Shape::default(),
    };
    tell(site.folder, target, &shape)?;
    Ok(format!("{kind} for the replicas"))
}

/// One check through the proxy.
pub(super) fn look(
    site: &Site<'_>,
    kind: &FaultKind,
    target: Target,
    undo: &Value,
) -> Result<Option<String>, StackError> {
    site.operation.interrupt.check()?;
    let port = port(undo)?;
    match kind {
        FaultKind::Slow { latency, jitter, bandwidth } => {
            let (sent, received, took) = exchange(target, port)?;
            let bytes = |count: usize| bandwidth.map_or(0.0, |rate| count as f64 / rate as f64);
            let expected = latency.saturating_sub(*jitter) + Duration::from_secs_f64(bytes(sent) + bytes(received));
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            Ok((took >= expected).then(|| format!("an exchange through the proxy takes {:.1} ms", ms(took))))
        }
        FaultKind::Reset => Ok(meets(target, port, Reach::Refused).then(|| "connections are reset".to_owned())),
        FaultKind::HalfOpen => Ok(meets(target, port, Reach::Silent).then(|| Reach::Silent.to_string())),
        _ => Ok(None),
    }
}

pub(super) fn undo(site: &Site<'_>, target: Target, undo: &Value) -> Result<String, StackError> {
    tell(site.folder, target, &Shape::default())?;
    let port = port(undo)?;
    // A dependency that does not run is not a network fault.
    let address = (Ipv4Addr::LOCALHOST, port).into();
    let prompt = || {
        let direct = site.driver.reach(target)?;
        let start = Instant::now();
        let passes = probe::reach(target, address) == direct;
        Ok((passes && start.elapsed() < Duration::from_secs(1)).then_some(()))
    };
    site.operation.interrupt.wait_for(LONGEST_UNDO, prompt)?.map(|()| "normal again".to_owned()).ok_or_else(|| {
        StackError::Conflict(format!("{target} cannot be reached through its proxy; see `lab logs proxy-{target}`"))
    })
}

/// Gives the proxy a new shape.
pub(crate) fn tell(folder: &Folder, target: Target, shape: &Shape) -> Result<(), StackError> {
    let path = folder.proxy(target);
    let text = serde_json::to_string(shape).map_err(std::io::Error::from).context(|| "a shape".to_owned())?;
    write_private(&path, &text)?;
    ProcessTree::find(folder, &format!("proxy-{target}"))?.signal_leader(Signal::HUP).map(drop)
}

fn port(undo: &Value) -> Result<u16, StackError> {
    undo["port"]
        .as_u64()
        .and_then(|port| port.try_into().ok())
        .ok_or_else(|| StackError::Conflict("the ledger does not contain the proxy's port".to_owned()))
}

fn meets(target: Target, port: u16, expected: Reach) -> bool {
    probe::reach(target, (Ipv4Addr::LOCALHOST, port).into()) == expected
}

/// A request that any working server answers. Returns the bytes sent and received, and the duration.
fn exchange(target: Target, port: u16) -> Result<(usize, usize, Duration), StackError> {
    let what = || format!("{target} cannot be reached through its proxy");
    let hello = probe::hello(target);
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).context(what)?;
    stream.set_read_timeout(Some(LONGEST_EXCHANGE)).context(what)?;
    let start = Instant::now();
    stream.write_all(&hello).context(what)?;
    let mut answer = [0; 256];
    let received = stream.read(&mut answer).context(what)?;
    Ok((hello.len(), received, start.elapsed()))
}
