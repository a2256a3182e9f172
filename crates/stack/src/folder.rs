//! The state folder: where each file of a stack lies, and the lock by which labs take turns in it.
//!
//! ```text
//! .stack/
//!   lab.lock      held while a lab changes the stack; its presence marks the folder as ours
//!   state.json    the record: what was started and how (see `record`)
//!   run/NAME.pid  one per process, written by the process itself (see `process::launch`)
//!   logs/         one file per server
//!   postgres/     the data and its passwords; the only part that survives `down`
//!   redis/  nginx/
//!   outside       link to where `postgres/` is instead, if this folder is closed to Postgres's user
//! ```

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process};

use crate::{
    Operation, StackError,
    error::{Context, cannot},
};

const LOCK: &str = "lab.lock";

/// Longer than any start or stop takes on a busy machine.
const WAIT_FOR_LOCK: Duration = Duration::from_secs(120);

/// A state folder that exists.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// The right to change the stack, until it is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Folder {
    /// Makes the folder, or takes an existing one unless it holds something else.
    pub(crate) fn create(path: &Path) -> Result<Self, StackError> {
        // Postgres's and nginx's own users have to pass through; to list or read it they have no need.
        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .context(|| cannot("create the state folder", path))?;
        let root = path.canonicalize().context(|| cannot("open the state folder", path))?;
        let marker = root.join(LOCK);
        if !marker.exists() {
            let mut entries = fs::read_dir(&root).context(|| cannot("read the state folder", &root))?;
            if entries.next().is_some() {
                let text =
                    format!("{} holds other files; choose an empty or new folder as state folder", root.display());
                return Err(StackError::Usage(text));
            }
        }
        let folder = Self(root);
        folder.open_lock_file()?;
        for part in [folder.run(), folder.0.join("logs"), folder.redis(), folder.nginx()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&part).context(|| cannot("create", &part))?;
        }
        Ok(folder)
    }

    /// A folder that an earlier `create` made.
    pub(crate) fn open(path: &Path) -> Result<Self, StackError> {
        match path.canonicalize() {
            Ok(root) if root.join(LOCK).exists() => Ok(Self(root)),
            Ok(root) => Err(StackError::NotRunning { folder: root }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(StackError::NotRunning { folder: path.to_owned() })
            }
            Err(source) => Err(StackError::Io { what: cannot("open the state folder", path), source }),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.0.join("state.json")
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    pub(crate) fn redis(&self) -> PathBuf {
        self.0.join("redis")
    }

    pub(crate) fn nginx(&self) -> PathBuf {
        self.0.join("nginx")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.0.join("outside")
    }

    /// Where the files of the servers with their own user are.
    pub(crate) fn services(&self) -> PathBuf {
        fs::read_link(self.outside()).unwrap_or_else(|_| self.0.clone())
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.services().join("postgres")
    }

    /// Takes the lock or says who has it.
    pub(crate) fn try_lock(&self, command: &str) -> Result<Lock, StackError> {
        match self.attempt_lock(command)? {
            Ok(lock) => Ok(lock),
            Err(holder) => Err(StackError::Busy { folder: self.0.clone(), holder: holder.to_string() }),
        }
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self, command: &str, operation: &Operation<'_>) -> Result<Lock, StackError> {
        let mut waiting = Waiting::new(self, command);
        let lock = operation.interrupt.wait_for(WAIT_FOR_LOCK, || {
            waiting.attempt(|holder| {
                let text = format!("waiting for {holder}, at work in this folder");
                operation.progress.note(&text);
            })
        })?;
        lock.ok_or_else(|| waiting.busy())
    }

    /// Waits for the lock, ending a start that is under way: whoever asks for `down` does not want it any more.
    pub(crate) fn lock_to_stop(&self, operation: &Operation<'_>) -> Result<Lock, StackError> {
        let mut waiting = Waiting::new(self, "down");
        let mut outcome = Ok(None);
        operation.interrupt.wait_while_cleaning(WAIT_FOR_LOCK, || {
            outcome = waiting.attempt(|holder| {
                if holder.command != "up" {
                    return operation.progress.note(&format!("waiting for {holder}, at work in this folder"));
                }
                operation.progress.note(&format!("{holder} is still starting this stack; asking it to stop"));
                // It holds the lock at this moment, so the number is not a stranger's.
                if let Some(pid) = Pid::from_raw(holder.pid) {
                    let _ = kill_process(pid, Signal::TERM);
                }
            });
            !matches!(outcome, Ok(None))
        });
        outcome?.ok_or_else(|| waiting.busy())
    }

    fn attempt_lock(&self, command: &str) -> Result<Result<Lock, Holder>, StackError> {
        let mut file = self.open_lock_file()?;
        let what = || cannot("lock", self.0.join(LOCK));
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                file.read_to_string(&mut text).context(what)?;
                return Ok(Err(Holder::parse(&text)));
            }
            Err(TryLockError::Error(source)) => return Err(StackError::Io { what: what(), source }),
        }
        // A `down --purge` may have removed the folder between the opening and the locking.
        let same =
            fs::metadata(self.0.join(LOCK)).is_ok_and(|now| file.metadata().is_ok_and(|ours| now.ino() == ours.ino()));
        if !same {
            return Err(StackError::NotRunning { folder: self.0.clone() });
        }
        file.set_len(0).context(what)?;
        file.rewind().context(what)?;
        writeln!(file, "{} {command}", std::process::id()).context(what)?;
        Ok(Ok(Lock { _file: file }))
    }

    fn open_lock_file(&self) -> Result<File, StackError> {
        let path = self.0.join(LOCK);
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(|source| {
            let hint = if source.kind() == io::ErrorKind::PermissionDenied { " (made by another user?)" } else { "" };
            StackError::Io { what: format!("{}{hint}", cannot("open", &path)), source }
        })
    }

    /// Removes all that this crate put there, and the folder when nothing else is left in it.
    pub(crate) fn purge(&self) -> Result<(), StackError> {
        let outside = fs::read_link(self.outside()).ok();
        for path in outside.iter().cloned().chain(
            ["postgres", "redis", "nginx", "nginx-temp", "run", "logs", "outside", "compose.json", "state.json", LOCK]
                .map(|part| self.0.join(part)),
        ) {
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(_) => continue,
            };
            removed.context(|| cannot("remove", &path))?;
        }
        // Fails when the user keeps files of their own there, which is right.
        let _ = fs::remove_dir(&self.0);
        Ok(())
    }
}

/// Attempts at a lock that others may have.
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

    /// Tells who has the lock, once.
    fn attempt(&mut self, tell: impl Fn(&Holder)) -> Result<Option<Lock>, StackError> {
        let holder = match self.folder.attempt_lock(self.command)? {
            Ok(lock) => return Ok(Some(lock)),
            Err(holder) => holder,
        };
        self.last = holder.to_string();
        if !self.told && holder.pid != 0 {
            self.told = true;
            tell(&holder);
        }
        Ok(None)
    }

    fn busy(&self) -> StackError {
        StackError::Busy { folder: self.folder.root().to_owned(), holder: self.last.clone() }
    }
}

/// Who has the lock, as it wrote itself into the file.
struct Holder {
    /// 0 until the holder has written it.
    pid: i32,
    command: String,
}

impl Holder {
    fn parse(text: &str) -> Self {
        let (pid, command) = text.trim().split_once(' ').unwrap_or_default();
        Self { pid: pid.parse().unwrap_or(0), command: command.to_owned() }
    }
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`lab {}` (pid {})", self.command, self.pid)
    }
}

/// Replaces a file in one step, readable by its owner alone.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), StackError> {
    let new = path.with_added_extension("new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&new, path)
    };
    write().context(|| cannot("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_files_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("thesis.txt"), "").unwrap();
        assert!(matches!(Folder::create(place.path()), Err(StackError::Usage(_))));
        assert!(!place.path().join(LOCK).exists());
    }

    #[test]
    fn purge_leaves_what_is_not_ours() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        fs::write(folder.root().join("notes.txt"), "mine").unwrap();
        folder.purge().unwrap();
        let left: Vec<_> = fs::read_dir(folder.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }

    #[test]
    fn the_second_one_is_told_who_has_the_lock() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        let first = folder.try_lock("up").unwrap();
        let refused = folder.try_lock("up").unwrap_err();
        assert!(refused.to_string().contains(&format!("`lab up` (pid {})", std::process::id())), "{refused}");
        drop(first);
        folder.try_lock("up").unwrap();
    }
}
