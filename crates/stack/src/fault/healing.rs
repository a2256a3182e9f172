//! Undoing faults, and restarting servers that do not run for any reason.

use time::OffsetDateTime;

use super::{
    FaultKind, Healed, ServerFault, cache, database, full_disk, held,
    injection::Site,
    ledger::{Entry, Ledger},
    network, now, replica,
};
use crate::{Operation, StackError, State, Target, folder::Folder};

/// The result of healing.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub healed: Vec<Healed>,
    pub failed: Vec<String>,
}

/// An undo that must still be awaited.
struct Begun {
    target: Target,
    kind: Option<FaultKind>,
    asked_at: OffsetDateTime,
    action: String,
}

/// Heals everything that can be healed, in the order of the targets: dependencies first. Failures are reported at the
/// end and do not prevent the rest from being healed. Healing twice is harmless.
pub(crate) fn heal(site: &Site<'_>, only: Option<Target>) -> Result<Vec<Healed>, StackError> {
    let mut outcome = Outcome::default();
    let mut targets = site.driver.targets()?;
    targets.retain(|target| only.is_none_or(|only| only == *target));
    targets.sort_unstable();
    let mut begun = Vec::new();
    // First undo everything that can be undone at once.
    for target in &targets {
        match restore(site, *target) {
            Ok(restored) => begun.extend(restored),
            Err(error) => outcome.fail(*target, &error),
        }
    }
    for target in &targets {
        site.operation.interrupt.check()?;
        let mine = begun.extract_if(.., |begun| begun.target == *target).collect();
        complete(site, *target, mine, &mut outcome)?;
    }
    forget_what_is_over(site)?;
    outcome.into_result()
}

/// Undoes one fault and nothing else. `None` if it is already undone.
pub(crate) fn undo_one(site: &Site<'_>, id: u64) -> Result<Option<Healed>, StackError> {
    let ledger = Ledger::load(site.folder)?;
    let Some(entry) = ledger.get(id).cloned() else { return Ok(None) };
    let target = entry.fault.target;
    if !site.driver.targets()?.contains(&target) {
        forget(site, id)?;
        return Ok(None);
    }
    let mut outcome = Outcome::default();
    let stopped = || Ok::<_, StackError>(site.driver.state(target)? == State::Stopped);
    if matches!(entry.fault.kind, FaultKind::Leak { .. }) && stopped()? {
        // Its death is the fault's doing.
        start_and_await(site, target, None, Vec::new(), false, &mut outcome)?;
    }
    if entry.fault.kind.of_server().is_some() {
        let begun = restore(site, target)?;
        start_and_await(site, target, Some(&entry), begun, !stopped()?, &mut outcome)?;
    } else {
        undo_inside(site, &entry, &mut outcome)?;
    }
    Ok(outcome.into_result()?.pop())
}

/// Undoes what this driver can undo without waiting: cuts and freezes.
fn restore(site: &Site<'_>, target: Target) -> Result<Vec<Begun>, StackError> {
    let ledger = Ledger::load(site.folder)?;
    let known = ledger.of_server(target);
    let asked_at = now();
    let actions = site.driver.restore(target, known.is_some_and(|(_, fault)| fault == ServerFault::Cut))?;
    let kind = known.and_then(|(id, _)| ledger.get(id)).map(|entry| entry.fault.kind.clone());
    Ok(actions.into_iter().map(|action| Begun { target, kind: kind.clone(), asked_at, action }).collect())
}

/// Starts the target if it does not run, undoes faults inside it, waits until it answers.
fn complete(site: &Site<'_>, target: Target, begun: Vec<Begun>, outcome: &mut Outcome) -> Result<(), StackError> {
    let ledger = Ledger::load(site.folder)?;
    let of_server = ledger.of_server(target).and_then(|(id, _)| ledger.get(id)).cloned();
    let runs = site.driver.state(target).map(|state| state != State::Stopped);
    let started = runs.and_then(|runs| start_and_await(site, target, of_server.as_ref(), begun, runs, outcome));
    match started {
        Ok(()) => {}
        Err(StackError::Interrupted) => return Err(StackError::Interrupted),
        Err(error) => outcome.fail(target, &error),
    }
    for entry in ledger.of(target).filter(|entry| entry.fault.kind.of_server().is_none()) {
        match undo_inside(site, entry, outcome) {
            Ok(()) => {}
            Err(StackError::Interrupted) => return Err(StackError::Interrupted),
            Err(error) => outcome.fail(target, &error),
        }
    }
    Ok(())
}

fn start_and_await(
    site: &Site<'_>,
    target: Target,
    entry: Option<&Entry>,
    mut begun: Vec<Begun>,
    runs: bool,
    outcome: &mut Outcome,
) -> Result<(), StackError> {
    let (kind, id) = (entry.map(|entry| entry.fault.kind.clone()), entry.map(|entry| entry.fault.id));
    if !runs {
        let asked_at = now();
        if let Some(action) = site.driver.start(target, site.operation)? {
            begun.push(Begun { target, kind: kind.clone(), asked_at, action });
        }
    }
    let asked_at = now();
    site.driver.await_answer(target, site.operation)?;
    let answered_at = now();
    if let Some(id) = id {
        forget(site, id)?;
        if begun.is_empty() {
            let action = "up again".to_owned();
            begun.push(Begun { target, kind, asked_at, action });
        }
    }
    outcome.healed.extend(begun.into_iter().map(|begun| Healed {
        target: begun.target,
        kind: begun.kind,
        asked_at: begun.asked_at,
        answered_at,
        action: begun.action,
    }));
    Ok(())
}

/// Undoes a fault inside a dependency or on the network to it.
fn undo_inside(site: &Site<'_>, entry: &Entry, outcome: &mut Outcome) -> Result<(), StackError> {
    let (id, target, kind) = (entry.fault.id, entry.fault.target, &entry.fault.kind);
    let asked_at = now();
    let action = match kind {
        FaultKind::Kill | FaultKind::Stop | FaultKind::Pause | FaultKind::Cut | FaultKind::Crash => return Ok(()),
        FaultKind::Slow { .. } | FaultKind::Reset | FaultKind::HalfOpen => network::undo(site, target, &entry.undo)?,
        FaultKind::LockTable { .. } | FaultKind::LockRow { .. } => {
            held::end(site, id)?;
            database::await_unlocked(site, kind)?
        }
        FaultKind::LimitConnections { .. } => database::restore_connection_limit(site, &entry.undo)?,
        FaultKind::ReadOnly => database::make_writable(site)?,
        FaultKind::AlterColumn { .. } => database::restore_column(site, &entry.undo)?,
        FaultKind::FullDisk => full_disk::make_room(site)?,
        FaultKind::PauseClients => {
            held::end(site, id)?;
            cache::await_answer(site)?
        }
        FaultKind::LimitMemory { .. } => cache::restore_memory(site, &entry.undo)?,
        FaultKind::Leak { .. } => replica::stop_leak(site, id, target, &entry.undo)?,
        FaultKind::EndConnections | FaultKind::Flush | FaultKind::Corrupt { .. } => "nothing to undo".to_owned(),
    };
    forget(site, id)?;
    outcome.healed.push(Healed { target, kind: Some(kind.clone()), asked_at, answered_at: now(), action });
    Ok(())
}

fn forget(site: &Site<'_>, id: u64) -> Result<(), StackError> {
    let mut ledger = Ledger::load(site.folder)?;
    ledger.remove(id);
    ledger.save(site.folder)
}

/// After a change of the topology: faults of removed replicas are gone, and a restarted replica is no longer dead.
pub(crate) fn forget_what_is_over(site: &Site<'_>) -> Result<(), StackError> {
    let targets = site.driver.targets()?;
    let mut ledger = Ledger::load(site.folder)?;
    let mut over = Vec::new();
    for entry in ledger.entries() {
        let target = entry.fault.target;
        let runs = || Ok::<_, StackError>(site.driver.state(target)? != State::Stopped);
        let is_over = !targets.contains(&target)
            || match entry.fault.kind {
                FaultKind::Kill | FaultKind::Stop | FaultKind::Crash => runs()?,
                FaultKind::Leak { .. } => runs()? && replica::is_over(site, target, &entry.undo)?,
                _ => false,
            };
        if is_over && targets.contains(&target) && matches!(entry.fault.kind, FaultKind::Leak { .. }) {
            site.driver.restore_memory(target, &entry.undo["memory"])?;
        }
        over.extend(is_over.then_some(entry.fault.id));
    }
    over.iter().for_each(|id| ledger.remove(*id));
    if over.is_empty() { Ok(()) } else { ledger.save(site.folder) }
}

/// Undoes faults that an earlier stack left in Postgres' data; `admin_url` is the superuser's.
pub(crate) fn repair(folder: &Folder, admin_url: &str, operation: &Operation<'_>) -> Result<(), StackError> {
    let mut ledger = Ledger::load(folder)?;
    let left: Vec<Entry> = ledger.entries().iter().filter(|entry| entry.fault.kind.is_persistent()).cloned().collect();
    for entry in left {
        operation.progress.note(&format!("undoing `{}`, which an earlier run left in the data", entry.fault.kind));
        database::repair(admin_url, &entry.fault.kind, &entry.undo)?;
        ledger.remove(entry.fault.id);
        ledger.save(folder)?;
    }
    Ok(())
}

impl Outcome {
    pub(crate) fn fail(&mut self, target: Target, error: &StackError) {
        let text = error.to_string();
        self.failed.push(if text.contains(&target.to_string()) { text } else { format!("{target}: {text}") });
    }

    pub(crate) fn into_result(self) -> Result<Vec<Healed>, StackError> {
        if self.failed.is_empty() {
            return Ok(self.healed);
        }
        Err(StackError::NotAllHealed { healed: self.healed, failed: self.failed })
    }
}
