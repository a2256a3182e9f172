//! The lock that serializes labs in a state folder. It belongs to the open file, so it ends with its process, however
//! the process ends.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    Operation, StackError,
    error::{Context, cannot},
    folder::{Folder, LOCK},
    supervise::table::Identity,
};

/// Longer than any start or stop takes on a busy machine.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(120);

/// The right to change the stack, until it is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Folder {
    /// Takes the lock, or returns its holder as an error.
    pub(crate) fn try_lock(&self, command: &str) -> Result<Lock, StackError> {
        match self.attempt_lock(command)? {
            Ok(lock) => Ok(lock),
            Err(holder) => Err(StackError::Busy { folder: self.root().to_owned(), holder: holder.to_string() }),
        }
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self, command: &str, operation: &Operation<'_>) -> Result<Lock, StackError> {
        let mut waiting = Waiting::new(self, command);
        let lock = operation.interrupt.wait_for(WAIT_FOR_LOCK, || {
            waiting.attempt(|holder| {
                let text = format!("waiting for {holder}, which is running in this folder");
                operation.progress.note(&text);
            })
        })?;
        lock.ok_or_else(|| waiting.busy())
    }

    /// Waits for the lock, and ends a start that is running: `down` makes it pointless.
    pub(crate) fn lock_to_stop(&self, operation: &Operation<'_>) -> Result<Lock, StackError> {
        let mut waiting = Waiting::new(self, "down");
        let mut outcome = Ok(None);
        operation.interrupt.wait_while_cleaning(WAIT_FOR_LOCK, || {
            outcome = waiting.attempt(|holder| {
                if holder.command != "up" {
                    return operation.progress.note(&format!("waiting for {holder}, which is running in this folder"));
                }
                operation.progress.note(&format!("{holder} is still starting this stack; asking it to stop"));
                let _ = holder.process.map(|process| process.signal(Signal::TERM));
            });
            !matches!(outcome, Ok(None))
        });
        outcome?.ok_or_else(|| waiting.busy())
    }

    fn attempt_lock(&self, command: &str) -> Result<Result<Lock, Holder>, StackError> {
        if !self.root().is_dir() {
            return Err(StackError::NotRunning { folder: self.root().to_owned() });
        }
        let mut file = open_file(self)?;
        let what = || cannot("lock", self.root().join(LOCK));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).context(what)?;
                return Ok(Err(Holder::parse(&text)));
            }
            Err(TryLockError::Error(source)) => return Err(StackError::Io { what: what(), source }),
        }
        // A `down --purge` may have removed the folder between opening and locking.
        let same = fs::metadata(self.root().join(LOCK))
            .is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino()));
        if !same {
            return Err(StackError::NotRunning { folder: self.root().to_owned() });
        }
        file.set_len(0).context(what)?;
        file.rewind().context(what)?;
        let own = serde_json::to_string(&Identity::own()).map_err(io::Error::from).context(what)?;
        writeln!(file, "{own} {command}").context(what)?;
        Ok(Ok(Lock { _file: file }))
    }
}

/// Creates the file if it does not exist.
pub(crate) fn open_file(folder: &Folder) -> Result<File, StackError> {
    let path = folder.root().join(LOCK);
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|source| {
        let hint = if source.kind() == io::ErrorKind::PermissionDenied { " (made by another user?)" } else { "" };
        StackError::Io { what: format!("{}{hint}", cannot("open", &path)), source }
    })
}

/// Attempts to take a lock that another process may hold.
struct Waiting<'a> {
    folder: &'a Folder,
    command: &'a str,
    told: bool,
    last: String,
}

impl<'a> Waiting<'a> {
    fn new(folder: &'a Folder, command: &'a str) -> Self {
        Self { folder, command, told: false, last: String::new() }
    }

    /// Reports the holder of the lock, once.
    fn attempt(&mut self, tell: impl Fn(&Holder)) -> Result<Option<Lock>, StackError> {
        let holder = match self.folder.attempt_lock(self.command)? {
            Ok(lock) => return Ok(Some(lock)),
            Err(holder) => holder,
        };
        self.last = holder.to_string();
        if !self.told && holder.process.is_some() {
            self.told = true;
            tell(&holder);
        }
        Ok(None)
    }

    fn busy(&self) -> StackError {
        StackError::Busy { folder: self.folder.root().to_owned(), holder: self.last.clone() }
    }
}

/// The holder of the lock, as it wrote itself into the file.
struct Holder {
    /// `None` until the holder has written it.
    process: Option<Identity>,
    command: String,
}

impl Holder {
    fn parse(text: &str) -> Self {
        let (process, command) = text.trim().split_once("} ").unwrap_or_default();
        Self { process: serde_json::from_str(&format!("{process}}}")).ok(), command: command.to_owned() }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`lab {}` (pid {})", self.command, self.process.map_or(0, |process| process.pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_lab_is_told_the_holder_of_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        let first = folder.try_lock("up").unwrap();
        let refused = folder.try_lock("up").unwrap_err();
        assert!(refused.to_string().contains(&format!("`lab up` (pid {})", std::process::id())), "{refused}");
        drop(first);
        folder.try_lock("up").unwrap();
    }
}
