//! The end: everything that was ever started in the folder, in an order in which nobody misses anybody.

use std::time::Duration;

use rustix::process::Signal;

use super::{cpu_quota, family::Family, heal, launch, postgres, table};
use crate::{
    Operation, StackError,
    folder::Folder,
    record::{Record, Stage},
};

/// First who brings requests, then who serves them, then what those need. Tasks of a start that was cut short come
/// with the replicas.
const ORDER: [fn(&str) -> bool; 4] = [
    |name| name == "nginx",
    |name| !matches!(name, "nginx" | "redis" | "postgres"),
    |name| name == "redis",
    |name| name == "postgres",
];

/// How a server is asked to end, and how long it may take: replicas drain for up to 10 s, and Postgres writes what it
/// has in memory.
pub(super) fn manners(name: &str) -> (Signal, Duration) {
    match name {
        "postgres" => (Signal::INT, Duration::from_secs(30)),
        "nginx" | "redis" => (Signal::TERM, Duration::from_secs(10)),
        _ => (Signal::TERM, Duration::from_secs(15)),
    }
}

/// True when there was anything to stop.
pub(crate) fn stop(folder: &Folder, operation: &Operation<'_>) -> Result<bool, StackError> {
    let record = match Record::load(folder) {
        Ok(Some(Record::Process(record))) => Some(record),
        _ => None,
    };
    let mut found = record.is_some();
    if let Some(record) = &record {
        if record.boot_id != table::boot_id() {
            for name in launch::names(folder)? {
                launch::forget(folder, &name);
            }
        }
        let mut record = record.clone();
        record.stage = Stage::Stopping;
        record.save(folder)?;
    }
    let names = launch::names(folder)?;
    for belongs in ORDER {
        let together: Vec<String> = names.iter().filter(|name| belongs(name)).cloned().collect();
        found |= stop_together(folder, &together, operation)?;
    }
    postgres::sweep(folder);
    cpu_quota::remove(folder);
    // Last, since it may not be permitted to this user: then the record stays and says what is left to do.
    for server in record.iter().flat_map(|record| &record.servers) {
        heal::reconnect(server)?;
    }
    Record::remove(folder)?;
    Ok(found)
}

/// Ends some servers at the same time: asked first, killed when they do not go. True when any was there.
pub(crate) fn stop_together(folder: &Folder, names: &[String], operation: &Operation<'_>) -> Result<bool, StackError> {
    let families = names.iter().map(|name| Family::find(folder, name)).collect::<Result<Vec<_>, _>>()?;
    let living: Vec<(&str, &Family)> =
        names.iter().map(String::as_str).zip(&families).filter(|(_, family)| !family.members().is_empty()).collect();
    if !living.is_empty() {
        end(&living, operation)?;
    }
    names.iter().for_each(|name| launch::forget(folder, name));
    Ok(!living.is_empty())
}

fn end(living: &[(&str, &Family)], operation: &Operation<'_>) -> Result<(), StackError> {
    let list = |names: Vec<&str>| names.join(", ");
    operation.progress.begin(&format!("stopping {}", list(living.iter().map(|(name, _)| *name).collect())));
    let mut patience = Duration::ZERO;
    for (name, family) in living {
        let (signal, time) = manners(name);
        patience = patience.max(time);
        ask(family, signal)?;
    }
    operation.interrupt.wait_while_cleaning(patience, || living.iter().all(|(_, family)| family.leader().is_none()));
    let stubborn: Vec<&str> =
        living.iter().filter(|(_, family)| family.leader().is_some()).map(|(name, _)| *name).collect();
    // Also workers that their leader left behind.
    living.iter().try_for_each(|(_, family)| family.kill().map(drop))?;
    operation.progress.end(&if stubborn.is_empty() { "stopped".into() } else { format!("killed {}", list(stubborn)) });
    Ok(())
}

/// The signal that ends it in good order; a frozen server has to be woken to follow it.
pub(super) fn ask(family: &Family, signal: Signal) -> Result<bool, StackError> {
    let asked = family.signal_leader(signal)?;
    family.resume()?;
    Ok(asked)
}
