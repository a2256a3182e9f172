//! What can be done inside a replica, by its own `api fault`: a crash, a leak.

use std::time::Duration;

use serde_json::{Value, json};

use super::{FaultKind, held, injection::Site};
use crate::{StackError, State, Target, agent::AgentTask, http};

/// The switch by which a replica accepts faults.
const SWITCH: &str = "LAB_FAULTS";

/// How long a replica may take for its figures.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Memory that was freed is given back to the kernel within milliseconds.
const LONGEST_RETURN: Duration = Duration::from_secs(10);

/// Less growth than this could be that of a replica at work.
const LEAST_GROWTH: u64 = 1 << 20;

/// Which run of the replica the fault is given to, and how it is before.
pub(super) fn prepare(site: &Site<'_>, kind: &FaultKind, target: Target) -> Result<Value, StackError> {
    accept_faults(site, target)?;
    let run = site.driver.incarnation(target)?;
    let FaultKind::Leak { limit, .. } = kind else { return Ok(json!({ "run": run })) };
    let resident = resident(site, target)?;
    if resident + 2 * LEAST_GROWTH > *limit {
        return Err(StackError::Conflict(format!(
            "{target} uses {} already: choose a larger --limit",
            megabytes(resident)
        )));
    }
    Ok(json!({ "run": run, "resident": resident, "memory": site.driver.memory_limit(target)? }))
}

/// Replicas that were started without the switch are restarted with it.
fn accept_faults(site: &Site<'_>, target: Target) -> Result<(), StackError> {
    let topology = site.driver.topology()?;
    let is_on = topology.env.iter().any(|(name, value)| name == SWITCH && value == "on");
    if is_on {
        return Ok(());
    }
    site.operation.progress.note(&format!("the replicas are restarted with {SWITCH}=on, to accept this fault"));
    site.driver.configure(&topology.with(SWITCH, "on"), site.operation)?;
    let targets = site.driver.targets()?;
    if targets.contains(&target) {
        return Ok(());
    }
    // Compose gives a new container a new number.
    let replicas = targets.iter().filter(|target| matches!(target, Target::Api(_)));
    let names = replicas.map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Err(StackError::Conflict(format!(
        "the replicas were replaced and are called {names} now; give the fault to one of them"
    )))
}

pub(super) fn leak(site: &Site<'_>, id: u64, target: Target, rate: u64, limit: u64) -> Result<String, StackError> {
    if !site.driver.limit_memory(target, limit)? {
        let process = site.driver.process(target)?;
        held::begin(site, id, &AgentTask::LimitMemory { process, bytes: limit })?;
    }
    // Twice the limit: it is the limit that ends it.
    let (rate_text, most) = (rate.to_string(), (2 * limit).to_string());
    site.driver.tell_replica(target, &["leak", "--rate", &rate_text, "--most", &most])?;
    Ok(format!("leaks {} per second, killed at {}", megabytes(rate), megabytes(limit)))
}

/// It has grown, or is gone already.
pub(super) fn has_grown(
    site: &Site<'_>,
    target: Target,
    rate: u64,
    undo: &Value,
) -> Result<Option<String>, StackError> {
    if is_over(site, target, undo)? {
        return Ok(Some("it was killed at its limit".to_owned()));
    }
    let before = undo["resident"].as_u64().unwrap_or_default();
    // It may be killed between the two looks.
    let Ok(now) = resident(site, target) else { return Ok(None) };
    let grown = now.saturating_sub(before) >= LEAST_GROWTH.max(rate / 2);
    Ok(grown.then(|| format!("its memory has grown from {} to {}", megabytes(before), megabytes(now))))
}

/// Whether the process that the fault was given to has ended.
pub(super) fn is_over(site: &Site<'_>, target: Target, undo: &Value) -> Result<bool, StackError> {
    Ok(site.driver.incarnation(target)?.as_deref() != undo["run"].as_str())
}

pub(super) fn has_crashed(site: &Site<'_>, target: Target, undo: &Value) -> Result<Option<String>, StackError> {
    if !is_over(site, target, undo)? {
        return Ok(None);
    }
    Ok(Some(match site.driver.state(target)? {
        State::Stopped => "its process has ended".to_owned(),
        _ => "its process has ended and it was started again".to_owned(),
    }))
}

/// Frees the memory of a replica that leaks, and lifts its limit.
pub(super) fn stop_leak(site: &Site<'_>, id: u64, target: Target, undo: &Value) -> Result<String, StackError> {
    let is_over = is_over(site, target, undo)?;
    held::end(site, id)?;
    site.driver.restore_memory(target, &undo["memory"])?;
    if is_over {
        return Ok("the process that leaked has ended".to_owned());
    }
    let leaked = resident(site, target)?;
    let freed = site.driver.tell_replica(target, &["heal"])?;
    let less = || Ok(resident(site, target).is_ok_and(|now| now < leaked).then_some(()));
    let returned = site.operation.interrupt.wait_for(LONGEST_RETURN, less)?;
    returned.map(|()| format!("leaks no more ({freed})")).ok_or_else(|| {
        StackError::Conflict(format!("{target} leaks no more but its memory does not shrink; restart it"))
    })
}

/// Memory of a replica in bytes, by its own figures.
fn resident(site: &Site<'_>, target: Target) -> Result<u64, StackError> {
    const NAME: &str = "process_resident_memory_bytes ";
    let unknown = |detail: String| StackError::Command { command: format!("{target}: GET /metrics"), detail };
    let endpoints = site.driver.endpoints()?;
    let replica = endpoints.replicas.iter().find(|replica| replica.name == target && !replica.url.is_empty());
    let url = &replica.ok_or_else(|| unknown("it cannot be reached from this machine".to_owned()))?.url;
    let answer = http::get(&format!("{url}/metrics"), ANSWERS_WITHIN).map_err(|error| unknown(error.to_string()))?;
    let value = answer.body.lines().find_map(|line| line.strip_prefix(NAME)?.trim().parse::<f64>().ok());
    value.map(|bytes| bytes as u64).ok_or_else(|| unknown("it does not say how much memory it uses".to_owned()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}
