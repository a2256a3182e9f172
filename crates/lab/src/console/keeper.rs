//! Undoes the console's faults when the console is gone, however it went. A second process waits on a pipe whose other end
//! only the console holds: the kernel closes it also after SIGKILL.

use std::{
    io::{self, Read},
    path::Path,
    process::{Child, Command, Stdio},
};

use stack::{Operation, Stack, StackError};

/// The running process. Dropping it closes the pipe, and it ends after a last look.
#[derive(Debug)]
pub(super) struct Keeper(Child);

impl Keeper {
    pub(super) fn start(program: &Path, folder: &Path, why: &str) -> Result<Self, StackError> {
        let child = Command::new(program)
            .arg("--state-dir")
            .arg(folder)
            .args(["keeper", why])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|source| StackError::Io { what: format!("cannot start {}", program.display()), source })?;
        Ok(Self(child))
    }

    pub(super) fn is_there(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// What the process does: waits for the end of its input, then undoes every fault that was given for `why`.
///
/// # Errors
/// What could not be undone; it stays known to `lab heal`.
pub(crate) fn run(folder: &Path, why: &str, operation: &Operation<'_>) -> Result<(), StackError> {
    // Nothing is ever written: this returns when the console is gone.
    let _ended = io::stdin().read_to_end(&mut Vec::new());
    let stack = match Stack::connect(folder) {
        Err(StackError::NotRunning { .. }) => return Ok(()),
        stack => stack?,
    };
    // A signal that ended the console was meant for it, not for what cleans up after it.
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    let mut failed = Ok(());
    let status = stack.status()?;
    for fault in status.faults().filter(|fault| fault.by == why) {
        if let Err(error) = stack.undo(fault.id, &undo) {
            failed = Err(error);
        }
    }
    failed
}
