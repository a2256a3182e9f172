//! The stack for experiments: the running one if it fits, or a temporary one.

use std::path::{Path, PathBuf};

use stack::{DriverKind, Operation, Session, Stack, StackError, Topology, UpOptions, down};

use super::undo;

/// A stack, for as long as experiments need it.
#[derive(Debug)]
pub struct Workplace {
    folder: PathBuf,
    driver: DriverKind,
    /// Whether it was started for these runs only.
    is_own: bool,
}

impl Workplace {
    /// Finds or starts a stack. `up` describes the user's own stack and the folder in which a running one is looked
    /// for. `driver` is the requested one; `None` takes the running one.
    ///
    /// # Errors
    /// There is no stack and none can be started, or another run has reserved it.
    pub fn open(up: &UpOptions, driver: Option<DriverKind>, operation: &Operation<'_>) -> Result<Self, StackError> {
        match Stack::connect(&up.folder) {
            Ok(stack) if driver.is_none_or(|driver| driver == stack.driver()) => {
                let note = format!("using the stack that is up in {}; it is left as it was", up.folder.display());
                operation.progress.note(&note);
                return Ok(Self { folder: up.folder.clone(), driver: stack.driver(), is_own: false });
            }
            Ok(_) | Err(StackError::NotRunning { .. }) => {}
            Err(error) => return Err(error),
        }
        let name = up.folder.file_name().map(|name| format!("{}-run", name.display()));
        let folder = up.folder.with_file_name(name.unwrap_or_else(|| "run".to_owned()));
        if let Ok(left) = Stack::connect(&folder) {
            // If it is reserved, another run is in progress. If not, a killed run has left it.
            left.reserve("clearing what an earlier run has left", operation)?.end(operation)?;
        }
        down(&folder, true, operation)?;
        let driver = driver.unwrap_or(up.driver);
        let up = UpOptions { folder: folder.clone(), driver, port: Some(0), ..up.clone() };
        Stack::up(&up, operation)?;
        Ok(Self { folder, driver, is_own: true })
    }

    #[must_use]
    pub fn driver(&self) -> DriverKind {
        self.driver
    }

    /// Its state folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Takes the stack, runs something with it, and puts it back as it was.
    ///
    /// # Errors
    /// The error of `work`, or the stack could not be restored.
    pub fn with<T>(
        &self,
        why: &str,
        operation: &Operation<'_>,
        work: impl FnOnce(&Session) -> Result<T, StackError>,
    ) -> Result<T, StackError> {
        let session = Stack::connect(&self.folder)?.reserve(why, operation)?;
        if !self.is_own {
            if let Some(fault) = session.status()?.faults().next() {
                let text = format!("{} has a fault already ({}); `lab heal` undoes it", fault.target, fault.kind);
                return Err(StackError::Usage(text));
            }
            undo::note(&self.folder, &session.topology()?)?;
        }
        let worked = work(&session);
        // This also runs after an interrupt, and whatever the result.
        let interrupt = operation.interrupt.acknowledged();
        let undo = Operation { progress: operation.progress, interrupt };
        let restored = if self.is_own { Ok(false) } else { undo::restore(&session, &undo) };
        let ended = session.end(&undo);
        let worked = worked?;
        restored?;
        ended?;
        Ok(worked)
    }

    /// Stops the stack if it was started for these runs.
    ///
    /// # Errors
    /// The stack could not be stopped.
    pub fn close(self, operation: &Operation<'_>) -> Result<(), StackError> {
        if self.is_own {
            let interrupt = operation.interrupt.acknowledged();
            down(&self.folder, true, &Operation { progress: operation.progress, interrupt })?;
        }
        Ok(())
    }
}

/// Whether two shapes are equal, regardless of the order of their variables.
pub(super) fn is_alike(one: &Topology, other: &Topology) -> bool {
    let sorted = |topology: &Topology| {
        let mut env = topology.env.clone();
        env.sort();
        env
    };
    (one.replicas, one.phase, one.cpus) == (other.replicas, other.phase, other.cpus) && sorted(one) == sorted(other)
}
