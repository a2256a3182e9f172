//! Stopping processes cleanly: asked first, killed if they do not end.

use std::time::Duration;

use rustix::process::Signal;

use super::{launch, process_tree::ProcessTree};
use crate::{Operation, StackError, folder::Folder};

/// First what sends requests, then what serves them, then its dependencies. Tasks of an interrupted start are stopped
/// with the replicas.
const ORDER: [fn(&str) -> bool; 4] = [
    |name| name == "nginx",
    |name| !matches!(name, "nginx" | "redis" | "postgres"),
    |name| name == "redis",
    |name| name == "postgres",
];

/// The signal that asks a server to end, and its time limit: replicas drain for up to 10 s, and Postgres writes its
/// memory to disk.
pub(crate) fn farewell(name: &str) -> (Signal, Duration) {
    match name {
        "postgres" => (Signal::INT, Duration::from_secs(30)),
        "nginx" | "redis" => (Signal::TERM, Duration::from_secs(10)),
        _ => (Signal::TERM, Duration::from_secs(15)),
    }
}

/// Stops everything that was started in the folder, dependents before dependencies. True if there was anything to stop.
pub(crate) fn stop_all(folder: &Folder, operation: &Operation<'_>) -> Result<bool, StackError> {
    let mut found = false;
    let names = launch::names(folder)?;
    for belongs in ORDER {
        let together: Vec<String> = names.iter().filter(|name| belongs(name)).cloned().collect();
        found |= stop_together(folder, &together, operation)?;
    }
    Ok(found)
}

/// Stops some servers in parallel: asked first, killed if they do not end. True if any was running.
pub(crate) fn stop_together(folder: &Folder, names: &[String], operation: &Operation<'_>) -> Result<bool, StackError> {
    let trees = names.iter().map(|name| ProcessTree::find(folder, name)).collect::<Result<Vec<_>, _>>()?;
    let living: Vec<(&str, &ProcessTree)> =
        names.iter().map(String::as_str).zip(&trees).filter(|(_, tree)| !tree.members().is_empty()).collect();
    if !living.is_empty() {
        end(&living, operation)?;
    }
    names.iter().for_each(|name| launch::forget(folder, name));
    Ok(!living.is_empty())
}

fn end(living: &[(&str, &ProcessTree)], operation: &Operation<'_>) -> Result<(), StackError> {
    let list = |names: Vec<&str>| names.join(", ");
    operation.progress.begin(&format!("stopping {}", list(living.iter().map(|(name, _)| *name).collect())));
    let mut patience = Duration::ZERO;
    for (name, tree) in living {
        let (signal, time) = farewell(name);
        patience = patience.max(time);
        ask(tree, signal)?;
    }
    operation.interrupt.wait_while_cleaning(patience, || living.iter().all(|(_, tree)| tree.leader().is_none()));
    let stubborn: Vec<&str> =
        living.iter().filter(|(_, tree)| tree.leader().is_some()).map(|(name, _)| *name).collect();
    // Includes workers that their leader left behind.
    living.iter().try_for_each(|(_, tree)| tree.kill().map(drop))?;
    operation.progress.end(&if stubborn.is_empty() { "stopped".into() } else { format!("killed {}", list(stubborn)) });
    Ok(())
}

/// Sends the signal that stops it cleanly; a frozen server must be thawed to handle it.
pub(crate) fn ask(tree: &ProcessTree, signal: Signal) -> Result<bool, StackError> {
    let asked = tree.signal_leader(signal)?;
    tree.resume()?;
    Ok(asked)
}
