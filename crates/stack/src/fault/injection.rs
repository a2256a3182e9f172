//! Injecting a fault: check, record, act, confirm.

use std::{path::Path, time::Duration};

use serde_json::Value;
use time::OffsetDateTime;

use super::{
    FaultKind, Injected, ServerFault, cache, database, full_disk, healing, ledger::Ledger, network, now, replica,
};
use crate::{Operation, StackError, State, Target, driver::Driver, folder::Folder, probe::Reach};

/// How long to wait for an effect before the fault is undone. Signals act at once; a lock waits for its present
/// holders.
const LONGEST_EFFECT: Duration = Duration::from_secs(10);

/// The stack in which faults are injected.
pub(crate) struct Site<'a> {
    pub folder: &'a Folder,
    pub driver: &'a dyn Driver,
    /// The program that keeps faults up.
    pub agent: &'a Path,
    pub operation: &'a Operation<'a>,
}

/// The program that injects a fault.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Giver<'a> {
    /// Shown to users.
    pub by: &'a str,
    /// The session's token.
    pub session: Option<&'a str>,
}

pub(crate) fn inject(
    site: &Site<'_>,
    kind: FaultKind,
    target: Target,
    giver: Giver<'_>,
) -> Result<Injected, StackError> {
    kind.check(target)?;
    let mut ledger = Ledger::load(site.folder)?;
    refuse_what_changes_nothing(site, &ledger, &kind, target)?;
    let undo = prepare(site, &kind, target)?;
    if kind.of_server().is_some()
        && let Some((replaced, _)) = ledger.of_server(target)
    {
        // A paused server that is killed or stopped is no longer paused.
        ledger.remove(replaced);
    }
    let (id, asked_at) = ledger.add(target, &kind, giver.by, giver.session, undo.clone());
    ledger.save(site.folder)?;
    let effect =
        act(site, id, &kind, target, &undo).and_then(|action| Ok((action, confirm(site, &kind, target, &undo)?)));
    match effect {
        Ok((action, (took_effect_at, evidence))) => {
            if kind.is_momentary() {
                ledger.remove(id);
            } else {
                ledger.confirm(id, took_effect_at, &evidence);
            }
            ledger.save(site.folder)?;
            Ok(Injected { id, target, kind, asked_at, took_effect_at, evidence, action })
        }
        Err(error) => {
            take_back(site, id);
            Err(error)
        }
    }
}

/// Undoes a fault that was not confirmed. If that fails, it stays in the ledger for `lab heal`.
fn take_back(site: &Site<'_>, id: u64) {
    let operation = Operation { progress: site.operation.progress, interrupt: site.operation.interrupt.acknowledged() };
    if let Err(error) = healing::undo_one(&Site { operation: &operation, ..*site }, id) {
        operation.progress.note(&format!("it could not be undone: {error}"));
    }
}

fn refuse_what_changes_nothing(
    site: &Site<'_>,
    ledger: &Ledger,
    kind: &FaultKind,
    target: Target,
) -> Result<(), StackError> {
    let conflict = |how: &str| Err(StackError::Conflict(format!("{target} {how}; `lab heal` undoes that")));
    let state = site.driver.state(target)?;
    if state == State::Stopped {
        return conflict("is not running");
    }
    if ledger.of_server(target).is_some_and(|(_, fault)| fault == ServerFault::Cut) {
        return conflict("is already isolated");
    }
    let is_paused = state == State::Paused;
    match kind.of_server() {
        Some(ServerFault::Pause | ServerFault::Cut | ServerFault::Crash) if is_paused => {
            return conflict("is already paused");
        }
        Some(fault) => return site.driver.permits(fault),
        // A fault inside it needs a server that answers.
        None if is_paused => return conflict("is paused"),
        None => {}
    }
    let alike = |other: &FaultKind| other.name() == kind.name() || other.is_of_network() && kind.is_of_network();
    match ledger.of(target).find(|entry| alike(&entry.fault.kind)) {
        Some(entry) => conflict(&format!("already has the fault `{}`", entry.fault.kind)),
        None => Ok(()),
    }
}

/// The data that the undo needs, collected before anything is changed.
fn prepare(site: &Site<'_>, kind: &FaultKind, target: Target) -> Result<Value, StackError> {
    match kind {
        FaultKind::Kill | FaultKind::Stop | FaultKind::Pause | FaultKind::Cut => Ok(Value::Null),
        FaultKind::Slow { .. } | FaultKind::Reset | FaultKind::HalfOpen => network::prepare(site, target),
        FaultKind::LockTable { table } => database::check_table(site, table),
        FaultKind::LockRow { table, row } => database::check_row(site, table, *row),
        FaultKind::LimitConnections { .. } => database::connection_limit(site),
        FaultKind::EndConnections | FaultKind::ReadOnly => Ok(Value::Null),
        FaultKind::FullDisk => full_disk::prepare(site),
        FaultKind::PauseClients => Ok(Value::Null),
        FaultKind::LimitMemory { bytes } => cache::memory_settings(site, *bytes),
        FaultKind::AlterColumn { table, column, to } => database::column_type(site, table, column, to),
        FaultKind::Flush => cache::leave_mark(site),
        FaultKind::Corrupt { .. } => Ok(Value::Null),
        FaultKind::Crash | FaultKind::Leak { .. } => replica::prepare(site, kind, target),
    }
}

/// Returns a description of what was done.
fn act(site: &Site<'_>, id: u64, kind: &FaultKind, target: Target, undo: &Value) -> Result<String, StackError> {
    let of_server = |fault| site.driver.inject(fault, target, site.operation);
    match kind {
        FaultKind::Kill => of_server(ServerFault::Kill),
        FaultKind::Stop => of_server(ServerFault::Stop),
        FaultKind::Pause => of_server(ServerFault::Pause),
        FaultKind::Cut => of_server(ServerFault::Cut),
        FaultKind::Slow { .. } | FaultKind::Reset | FaultKind::HalfOpen => network::act(site, kind, target),
        FaultKind::LockTable { table } => database::lock_table(site, id, table),
        FaultKind::LockRow { table, row } => database::lock_row(site, id, table, *row),
        FaultKind::LimitConnections { most } => database::limit_connections(site, *most),
        FaultKind::EndConnections => database::end_connections(site),
        FaultKind::ReadOnly => database::make_read_only(site),
        FaultKind::AlterColumn { table, column, to } => database::alter_column(site, table, column, to),
        FaultKind::Corrupt { key } => cache::corrupt(site, key),
        FaultKind::FullDisk => full_disk::fill(site, undo),
        FaultKind::PauseClients => cache::pause_clients(site, id),
        FaultKind::LimitMemory { bytes } => cache::limit_memory(site, *bytes),
        FaultKind::Flush => cache::flush(site),
        FaultKind::Crash => of_server(ServerFault::Crash),
        FaultKind::Leak { rate, limit } => replica::leak(site, id, target, *rate, *limit),
    }
}

/// Checks from outside until the effect shows. Returns when, and what was observed.
fn confirm(
    site: &Site<'_>,
    kind: &FaultKind,
    target: Target,
    undo: &Value,
) -> Result<(OffsetDateTime, String), StackError> {
    let found = site.operation.interrupt.wait_for(LONGEST_EFFECT, || {
        let at = now();
        Ok(look(site, kind, target, undo)?.map(|evidence| (at, evidence)))
    })?;
    found.ok_or_else(|| {
        let seconds = LONGEST_EFFECT.as_secs();
        StackError::NotConfirmed(format!("{target}: `{kind}` shows no effect after {seconds} s; it was undone"))
    })
}

/// One check; `None`: no effect yet.
fn look(site: &Site<'_>, kind: &FaultKind, target: Target, undo: &Value) -> Result<Option<String>, StackError> {
    let reach = |expected: &[Reach]| -> Result<Option<String>, StackError> {
        let reach = site.driver.reach(target)?;
        Ok(expected.contains(&reach).then(|| reach.to_string()))
    };
    match kind {
        FaultKind::Kill | FaultKind::Stop => reach(&[Reach::Refused, Reach::Gone]),
        FaultKind::Pause => reach(&[Reach::Silent, Reach::Dropped]),
        FaultKind::Cut => reach(&[Reach::Dropped]),
        FaultKind::Slow { .. } | FaultKind::Reset | FaultKind::HalfOpen => network::look(site, kind, target, undo),
        FaultKind::LockTable { table } => database::is_table_locked(site, table),
        FaultKind::LockRow { table, row } => database::is_row_locked(site, table, *row),
        FaultKind::LimitConnections { most } => database::are_connections_limited(site, *most),
        FaultKind::EndConnections => Ok(Some("the server has closed all of them".to_owned())),
        FaultKind::ReadOnly => database::is_read_only(site),
        FaultKind::AlterColumn { table, column, .. } => database::is_altered(site, table, column, undo),
        // A replica that reads it replaces it at once: what Redis answered to the write is the evidence.
        FaultKind::Corrupt { key } => Ok(Some(format!("`{key}` was overwritten"))),
        FaultKind::FullDisk => full_disk::is_full(site),
        FaultKind::PauseClients => cache::is_silent(site),
        FaultKind::LimitMemory { .. } => cache::is_out_of_memory(site),
        FaultKind::Flush => cache::is_mark_gone(site),
        FaultKind::Crash => replica::has_crashed(site, target, undo),
        FaultKind::Leak { rate, .. } => replica::has_grown(site, target, *rate, undo),
    }
}
