//! A running stack, independent of its driver. This is the only file that knows the drivers.

use std::{path::Path, time::Duration};

use crate::{
    DriverKind, Endpoints, FaultGuard, FaultKind, Healed, HostEnvironment, Injected, Interrupt, Login, Logs, Operation,
    Session, StackError, Status, Target, Topology, UpOptions, Watched,
    compose::ComposeStarter,
    driver::{self, Driver, Starter},
    fault::{
        healing,
        injection::{self, Giver, Site},
        ledger::Ledger,
    },
    folder::Folder,
    process::ProcessStarter,
    record::{Record, Stage},
    session::{self, Hold},
    topology::Restart,
};

fn starter(driver: DriverKind) -> &'static dyn Starter {
    match driver {
        DriverKind::Process => &ProcessStarter,
        DriverKind::Compose => &ComposeStarter,
    }
}

/// A stack that was started by this program or another.
#[derive(Debug)]
pub struct Stack {
    folder: Folder,
    driver: Box<dyn Driver>,
    /// The hold, if this program has reserved the stack.
    hold: Option<Hold>,
}

impl Stack {
    /// Starts everything and returns when it answers. On failure everything that was started is stopped again.
    pub fn up(options: &UpOptions, operation: &Operation<'_>) -> Result<Self, StackError> {
        Topology::from(options).check()?;
        let starter = starter(options.driver);
        starter.check(options)?;
        let folder = Folder::create(&options.folder)?;
        let _lock = folder.try_lock("up")?;
        clear_wreckage(&folder, operation)?;
        let repair = |admin_url: &str| healing::repair(&folder, admin_url, operation);
        starter.up(&folder, options, &repair, operation)?;
        Self::from_folder(folder.clone())
    }

    /// Connects to the stack of this state folder.
    pub fn connect(folder: &Path) -> Result<Self, StackError> {
        Self::from_folder(Folder::open(folder)?)
    }

    fn from_folder(folder: Folder) -> Result<Self, StackError> {
        match Record::load(&folder)? {
            Some(record) if record.stage != Stage::Stopped => {
                Ok(Self { driver: starter(record.driver).connect(&folder), folder, hold: None })
            }
            _ => Err(StackError::NotRunning { folder: folder.root().to_owned() }),
        }
    }

    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.root()
    }

    #[must_use]
    pub fn driver(&self) -> DriverKind {
        self.driver.kind()
    }

    /// Reserves the stack for this program: until the session ends, only the session can inject faults and change the
    /// stack. `why` is shown to other programs.
    ///
    /// # Errors
    /// [`StackError::Held`] names the holder.
    pub fn reserve(&self, why: &str, operation: &Operation<'_>) -> Result<Session, StackError> {
        let _lock = self.folder.lock("reserve", operation)?;
        let hold = session::reserve(&self.folder, why)?;
        let stack = Self::from_folder(self.folder.clone())?;
        Ok(Session::new(Self { hold: Some(hold), ..stack }))
    }

    /// All servers with their faults, and the holder of the stack.
    pub fn status(&self) -> Result<Status, StackError> {
        let mut status = self.driver.status()?;
        status.session = session::held(&self.folder)?;
        let ledger = Ledger::load(&self.folder)?;
        status.set_faults(|target| ledger.of(target).map(|entry| entry.fault.clone()).collect());
        Ok(status)
    }

    /// The addresses that speak HTTP. Cheap enough to be asked for many times a second.
    pub fn endpoints(&self) -> Result<Endpoints, StackError> {
        self.driver.endpoints()
    }

    /// The URL of a server behind the replicas, with the account's password.
    ///
    /// # Errors
    /// Also when the server cannot be reached from this machine.
    pub fn url(&self, login: Login) -> Result<String, StackError> {
        driver::url(&*self.driver, login)
    }

    pub fn topology(&self) -> Result<Topology, StackError> {
        self.driver.topology()
    }

    /// Where the logs of its servers are.
    pub fn logs(&self) -> Result<Logs, StackError> {
        self.driver.logs()
    }

    /// Parses a target's name; the error lists the valid ones.
    pub fn target(&self, text: &str) -> Result<Target, StackError> {
        let valid = self.driver.targets()?;
        match text.parse() {
            Ok(target) if valid.contains(&target) => Ok(target),
            _ => Err(StackError::UnknownTarget { given: text.to_owned(), valid }),
        }
    }

    /// Injects a fault and returns once the effect was observed from outside.
    pub fn inject(&self, fault: FaultKind, target: Target, operation: &Operation<'_>) -> Result<Injected, StackError> {
        let (_lock, agent) = self.change("fault", operation)?;
        self.target(&target.to_string())?;
        let by = self.hold.as_ref().map_or_else(
            || format!("lab fault {} {target} (pid {})", fault.name(), std::process::id()),
            |hold| hold.why.clone(),
        );
        let session = self.hold.as_ref().map(|hold| hold.token.as_str());
        injection::inject(&self.site(&agent, operation), fault, target, Giver { by: &by, session })
    }

    /// Like [`inject`](Self::inject); the fault is undone when the guard is dropped.
    pub fn inject_guarded(
        &self,
        fault: FaultKind,
        target: Target,
        operation: &Operation<'_>,
    ) -> Result<FaultGuard<'_>, StackError> {
        Ok(FaultGuard::new(self, self.inject(fault, target, operation)?))
    }

    /// Undoes one fault and no other. `None`: it is already undone.
    pub fn undo(&self, id: u64, operation: &Operation<'_>) -> Result<Option<Healed>, StackError> {
        let _lock = self.folder.lock("heal", operation)?;
        let record = self.complete()?;
        let site = self.site(&record.agent, operation);
        // The program that injected a fault may undo it, even if another program holds the stack by now.
        healing::undo_one(&site, id)
    }

    /// Undoes every fault (or those of one server) and restarts servers that are not running; waits until they answer.
    ///
    /// # Errors
    /// [`StackError::NotAllHealed`], after everything that can be healed is healed.
    pub fn heal(&self, only: Option<Target>, operation: &Operation<'_>) -> Result<Vec<Healed>, StackError> {
        let (_lock, agent) = self.change("heal", operation)?;
        if let Some(target) = only {
            self.target(&target.to_string())?;
        }
        healing::heal(&self.site(&agent, operation), only)
    }

    /// Undoes the faults of this session, the last one first.
    pub(crate) fn undo_session(&self, operation: &Operation<'_>) -> Result<Vec<Healed>, StackError> {
        let Some(hold) = &self.hold else { return Ok(Vec::new()) };
        let ledger = Ledger::load(&self.folder)?;
        let mine = ledger.entries().iter().rev().filter(|entry| entry.session.as_deref() == Some(&hold.token));
        let mut outcome = healing::Outcome::default();
        for entry in mine {
            match self.undo(entry.fault.id, operation) {
                Ok(healed) => outcome.healed.extend(healed),
                Err(error) => outcome.fail(entry.fault.target, &error),
            }
        }
        outcome.into_result()
    }

    /// Changes the number of replicas; removed replicas drain first.
    pub fn scale(&self, replicas: u32, operation: &Operation<'_>) -> Result<(), StackError> {
        self.configure(&Topology { replicas, ..self.topology()? }, operation)
    }

    /// Changes the topology of the running stack: replicas are added or removed, and if their settings change they are
    /// restarted one by one. Dependencies and data stay.
    pub fn configure(&self, wanted: &Topology, operation: &Operation<'_>) -> Result<(), StackError> {
        wanted.check()?;
        let (_lock, agent) = self.change("configure", operation)?;
        let configured = self.driver.configure(wanted, operation);
        healing::forget_what_is_over(&self.site(&agent, operation))?;
        configured
    }

    /// Restarts every running replica.
    pub fn restart(&self, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError> {
        let (_lock, agent) = self.change("restart", operation)?;
        let restarted = self.driver.restart(restart, operation);
        healing::forget_what_is_over(&self.site(&agent, operation))?;
        restarted
    }

    /// Starts the monitoring: Prometheus, and its exporters for nginx, Postgres and Redis. The stack runs without them
    /// too, so a missing program is not an error: the returned lines mention it.
    pub fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        let _lock = self.folder.lock("observe", operation)?;
        self.complete()?;
        self.driver.observe(host, operation)
    }

    /// Starts a Prometheus with the alert rules, whose times are those of a day of this length. Returns how they are timed,
    /// or why nothing raises alerts; where the stack has a Prometheus already, that one stays as it is.
    pub fn start_alerts(
        &self,
        day: Duration,
        host: &HostEnvironment,
        operation: &Operation<'_>,
    ) -> Result<Result<String, String>, StackError> {
        let _lock = self.folder.lock("observe", operation)?;
        self.complete()?;
        self.driver.start_alerts(day, host, operation)
    }

    /// Ends what [`start_alerts`](Self::start_alerts) has started.
    pub fn stop_alerts(&self, operation: &Operation<'_>) -> Result<(), StackError> {
        let _lock = self.folder.lock("observe", operation)?;
        self.driver.stop_alerts()
    }

    /// For a program that watches the stack: servers that have died without a fault since the last call.
    pub fn watch(&self, watched: &mut Watched) -> Result<Vec<Target>, StackError> {
        let mut dead = self.driver.dead()?;
        if !dead.is_empty() {
            // A fault is recorded before it acts, so the fault that killed a server is already in the ledger.
            let ledger = Ledger::load(&self.folder)?;
            let is_meant = |target| {
                let mut kinds = ledger.of(target).map(|entry| &entry.fault.kind);
                kinds.any(|kind| {
                    matches!(kind, FaultKind::Kill | FaultKind::Stop | FaultKind::Crash | FaultKind::Leak { .. })
                })
            };
            dead.retain(|target| !is_meant(*target));
        }
        Ok(watched.update(dead))
    }

    /// The right to change the stack, and the program that runs the agents.
    fn change(
        &self,
        command: &str,
        operation: &Operation<'_>,
    ) -> Result<(crate::lock::Lock, std::path::PathBuf), StackError> {
        let lock = self.folder.lock(command, operation)?;
        if self.hold.is_none() {
            session::check_free(&self.folder)?;
        }
        Ok((lock, self.complete()?.agent))
    }

    /// A stack that never started completely cannot be healed.
    fn complete(&self) -> Result<Record, StackError> {
        let record = Record::load(&self.folder)?;
        let record = record.ok_or_else(|| StackError::NotRunning { folder: self.folder.root().to_owned() })?;
        record.check_complete()?;
        Ok(record)
    }

    fn site<'a>(&'a self, agent: &'a Path, operation: &'a Operation<'a>) -> Site<'a> {
        Site { folder: &self.folder, driver: self.driver.as_ref(), agent, operation }
    }
}

/// Stops everything that is left of a stack, complete or not. True if there was anything. `purge` removes the data too.
pub fn down(folder: &Path, purge: bool, operation: &Operation<'_>) -> Result<bool, StackError> {
    let folder = match Folder::open(folder) {
        Ok(folder) => folder,
        Err(StackError::NotRunning { folder }) => {
            if purge {
                // A start that was interrupted before its first file leaves an empty folder; no other folder is
                // removed.
                let _ = std::fs::remove_dir(folder);
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    session::ask_to_end(&folder, operation)?;
    // From here on an interrupt no longer ends the operation, it only shortens waits: see `Interrupt::count`.
    let _lock = match folder.lock_to_stop(operation) {
        // The holder has stopped it, and removed the folder.
        Err(StackError::NotRunning { .. }) => return Ok(true),
        lock => lock?,
    };
    let found = stop(&folder, purge, operation)?;
    if purge {
        folder.purge()?;
    }
    Ok(found)
}

fn stop(folder: &Folder, purge: bool, operation: &Operation<'_>) -> Result<bool, StackError> {
    let record = match Record::load(folder) {
        Ok(record) => record,
        Err(error) => {
            operation.progress.note(&format!("{error}; stopping everything that is recorded in the folder"));
            None
        }
    };
    undo_what_would_stay(folder, record.as_ref(), purge, operation);
    // Without a record only processes can be left: containers are found by the name in the record.
    let starter = starter(record.as_ref().map_or(DriverKind::Process, |record| record.driver));
    let found = starter.stop(folder, record.as_ref(), purge, operation)?;
    let mut ledger = Ledger::load(folder).unwrap_or_default();
    ledger.keep_persistent();
    ledger.save(folder)?;
    Ok(found)
}

/// A fault in Postgres' data outlives the stack. It is undone while Postgres runs; otherwise the ledger keeps it and
/// the next start undoes it.
fn undo_what_would_stay(folder: &Folder, record: Option<&Record>, purge: bool, operation: &Operation<'_>) {
    let Some(record) = record.filter(|record| record.stage == Stage::Running && !purge) else { return };
    let ledger = Ledger::load(folder).unwrap_or_default();
    let driver = starter(record.driver).connect(folder);
    for entry in ledger.entries().iter().filter(|entry| entry.fault.kind.is_persistent()) {
        let site = Site { folder, driver: driver.as_ref(), agent: &record.agent, operation };
        let restored = driver.restore(entry.fault.target, false).map(drop);
        if let Err(error) = restored.and_then(|()| healing::undo_one(&site, entry.fault.id).map(drop)) {
            operation.progress.note(&format!("the next `lab up` undoes `{}`: {error}", entry.fault.kind));
        }
    }
}

/// Before a start: returns an error if a stack runs, and cleans up what an earlier lab left.
fn clear_wreckage(folder: &Folder, operation: &Operation<'_>) -> Result<(), StackError> {
    let record = Record::load(folder);
    if let Ok(Some(record)) = &record
        && record.stage == Stage::Running
        && let Some(detail) = starter(record.driver).alive(folder, record)?
    {
        return Err(StackError::AlreadyRunning { folder: folder.root().to_owned(), detail });
    }
    let is_clear = match &record {
        Ok(None) => true,
        Ok(Some(record)) => record.stage == Stage::Stopped,
        Err(_) => false,
    };
    if !is_clear {
        operation.progress.note("an earlier run did not shut down cleanly; cleaning up what it left");
    }
    // Also without a record: pid files may be left from a run whose record was removed by hand.
    stop(folder, false, &Operation { progress: operation.progress, interrupt: Interrupt::default() })?;
    operation.interrupt.check()
}
