//! Exclusive use of a stack during a run. The hold is a lock on an open file, so it ends with its process, however the
//! process ends; the file names the holder.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    ops::Deref,
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    Healed, Operation, Stack, StackError,
    error::{Context, cannot},
    fault::now,
    folder::Folder,
    supervise::table::Identity,
};

/// Readers hold the lock only for a moment.
const MOMENT: Duration = Duration::from_secs(2);
/// Enough to undo all faults: a restart of Postgres takes longest.
const LONGEST_UNDO: Duration = Duration::from_secs(120);

/// The holder of a stack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What it is doing.
    pub why: String,
    #[serde(flatten)]
    pub(crate) process: Identity,
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
}

impl Holder {
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid
    }

    /// How long it has held the stack, by the machine's clock.
    #[must_use]
    pub fn age(&self) -> Duration {
        (now() - self.since).try_into().unwrap_or_default()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (pid {}, for {} s)", self.why, self.process.pid, self.age().as_secs())
    }
}

/// The hold itself.
#[derive(Debug)]
pub(crate) struct Hold {
    _file: File,
    pub(crate) why: String,
    /// Identifies its faults in the ledger.
    pub(crate) token: String,
}

/// A stack that is held by this program: until the session is dropped, only the session can inject faults and change
/// the stack. Dropping it, even by a panic, undoes every fault that was injected through it.
#[derive(Debug)]
pub struct Session {
    stack: Stack,
    ended: bool,
}

impl Deref for Session {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl Session {
    pub(crate) fn new(stack: Stack) -> Self {
        Self { stack, ended: false }
    }

    /// Undoes the session's faults and releases the stack.
    ///
    /// # Errors
    /// Not everything could be undone; the rest stays in the ledger for `lab heal`.
    pub fn end(mut self, operation: &Operation<'_>) -> Result<Vec<Healed>, StackError> {
        self.ended = true;
        self.stack.undo_session(operation)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.ended {
            // `drop` cannot return an error; a fault that could not be undone is still in the ledger.
            let _ = self.stack.undo_session(&Operation::default());
        }
    }
}

/// Takes the hold, or returns its holder as an error.
pub(crate) fn reserve(folder: &Folder, why: &str) -> Result<Hold, StackError> {
    let path = folder.holder();
    let what = || cannot("write", &path);
    let mut file = open(folder)?;
    let locked = crate::Interrupt::default().wait_while_cleaning(MOMENT, || file.try_lock().is_ok());
    if !locked {
        return Err(held(folder)?.map_or_else(
            || StackError::Conflict("another program is just acquiring or releasing the stack; try again".to_owned()),
            |holder| StackError::Held { holder },
        ));
    }
    let process = Identity::own().ok_or_else(|| StackError::Conflict("/proc does not know this program".to_owned()))?;
    let holder = Holder { why: why.to_owned(), process, since: now() };
    let text = serde_json::to_string(&holder).map_err(std::io::Error::from).context(what)?;
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(text.as_bytes())).context(what)?;
    let token = format!("{} {}", process.pid, holder.since.unix_timestamp_nanos());
    Ok(Hold { _file: file, why: why.to_owned(), token })
}

/// The present holder.
pub(crate) fn held(folder: &Folder) -> Result<Option<Holder>, StackError> {
    let path = folder.holder();
    let Ok(mut file) = File::open(&path) else { return Ok(None) };
    match file.try_lock_shared() {
        Ok(()) => return Ok(None),
        Err(TryLockError::WouldBlock) => {}
        Err(TryLockError::Error(source)) => return Err(StackError::Io { what: cannot("lock", &path), source }),
    }
    let mut text = String::new();
    file.read_to_string(&mut text).context(|| cannot("read", &path))?;
    // Empty until the holder has written it.
    Ok(serde_json::from_str(&text).ok())
}

/// Returns an error if another program holds the stack.
pub(crate) fn check_free(folder: &Folder) -> Result<(), StackError> {
    held(folder)?.map_or(Ok(()), |holder| Err(StackError::Held { holder }))
}

/// Asks the holder to undo its faults and to end, and waits for it. A holder that does neither cannot prevent the stop.
pub(crate) fn ask_to_end(folder: &Folder, operation: &Operation<'_>) -> Result<(), StackError> {
    let Some(holder) = held(folder)? else { return Ok(()) };
    if Identity::own() == Some(holder.process) {
        return Err(StackError::Conflict("this program holds the stack itself; its session must end first".to_owned()));
    }
    operation.progress.note(&format!("{holder} holds this stack; asking it to undo its faults and end"));
    holder.process.signal(Signal::TERM).context(|| format!("cannot signal {holder}"))?;
    let ended = operation
        .interrupt
        .wait_while_cleaning(LONGEST_UNDO, || held(folder).is_ok_and(|now| now.as_ref() != Some(&holder)));
    if !ended {
        operation.progress.note(&format!("{holder} does not end; stopping the stack anyway"));
    }
    Ok(())
}

fn open(folder: &Folder) -> Result<File, StackError> {
    let path = folder.holder();
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    file.context(|| cannot("open", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_program_is_told_the_holder_until_the_first_releases_the_stack() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        assert_eq!(held(&folder).unwrap(), None);
        let hold = reserve(&folder, "lab run redis-kill").unwrap();
        let text = reserve(&folder, "another").unwrap_err().to_string();
        assert!(text.contains("lab run redis-kill") && text.contains(&std::process::id().to_string()), "{text}");
        assert!(matches!(check_free(&folder), Err(StackError::Held { .. })));
        drop(hold);
        assert!(check_free(&folder).is_ok());
        reserve(&folder, "another").unwrap();
    }
}
