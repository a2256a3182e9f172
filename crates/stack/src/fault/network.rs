//! Network faults between the replicas and a dependency: a proxy between them is given a shape.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
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

/// The proxy's address; it is put between them if it is not there.
pub(super) fn prepare(site: &Site<'_>, target: Target) -> Result<Value, StackError> {
    let address = site.driver.proxy(target, site.agent, site.operation)?;
    Ok(json!({ "proxy": address }))
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
    let address = address(undo)?;
    match kind {
        FaultKind::Slow { latency, jitter, bandwidth } => {
            let (sent, received, took) = exchange(target, address)?;
            let bytes = |count: usize| bandwidth.map_or(0.0, |rate| count as f64 / rate as f64);
            let expected = latency.saturating_sub(*jitter) + Duration::from_secs_f64(bytes(sent) + bytes(received));
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            Ok((took >= expected).then(|| format!("an exchange through the proxy takes {:.1} ms", ms(took))))
        }
        FaultKind::Reset => Ok(meets(target, address, Reach::Refused).then(|| "connections are reset".to_owned())),
        FaultKind::HalfOpen => Ok(meets(target, address, Reach::Silent).then(|| Reach::Silent.to_string())),
        _ => Ok(None),
    }
}

pub(super) fn undo(site: &Site<'_>, target: Target, undo: &Value) -> Result<String, StackError> {
    tell(site.folder, target, &Shape::default())?;
    let address = address(undo)?;
    // A dependency that does not run is not the network's fault.
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

fn address(undo: &Value) -> Result<SocketAddr, StackError> {
    serde_json::from_value(undo["proxy"].clone())
        .map_err(|_| StackError::Conflict("the ledger of faults does not name the proxy's address".to_owned()))
}

fn meets(target: Target, address: SocketAddr, expected: Reach) -> bool {
    probe::reach(target, address) == expected
}

/// A question that any working server answers: how many bytes went each way, and how long it took.
fn exchange(target: Target, address: SocketAddr) -> Result<(usize, usize, Duration), StackError> {
    let what = || format!("{target} is not reached through its proxy");
    let hello = probe::hello(target);
    let mut stream = TcpStream::connect(address).context(what)?;
    stream.set_read_timeout(Some(LONGEST_EXCHANGE)).context(what)?;
    let start = Instant::now();
    stream.write_all(&hello).context(what)?;
    let mut answer = [0; 256];
    let received = stream.read(&mut answer).context(what)?;
    Ok((hello.len(), received, start.elapsed()))
}
