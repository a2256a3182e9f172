//! The state folder: the location of each file of a stack.
//!
//! ```text
//! .stack/
//!   lab.lock      held while a lab changes the stack (see `lock`); marks the folder as a state folder
//!   state.json    the record: what was started, and how (see `record`)
//!   faults.json   the ledger: what is broken on purpose (see `fault::ledger`)
//!   holder        held by a program that has reserved the stack (see `session`)
//!   console.json  written and locked by a console of this stack, which is in the crate `lab`
//!   run.json      where the journal of the last run on this stack is; the same crate
//!   run/NAME.pid  one per process, written by the process itself (see `process::launch`)
//!   logs/         one file per server
//!   postgres/     the data and its passwords; the only part that survives `down`
//!   redis/  nginx/  proxies/
//!   outside       link to where `postgres/` is instead, if this folder is closed to Postgres's user
//! ```

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::process::geteuid;

use crate::{
    StackError, Target,
    error::{Context, cannot},
    lock,
};

pub(crate) const LOCK: &str = "lab.lock";

/// A state folder that exists.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Creates the folder, or opens an existing one unless it holds other files.
    pub(crate) fn create(path: &Path) -> Result<Self, StackError> {
        // The users of Postgres and nginx must be able to traverse the folder, but not to list or read it.
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
        lock::open_file(&folder)?;
        for part in [folder.run(), folder.0.join("logs"), folder.0.join("proxies"), folder.redis(), folder.nginx()] {
            DirBuilder::new().recursive(true).mode(0o700).create(&part).context(|| cannot("create", &part))?;
        }
        Ok(folder)
    }

    /// Opens a folder that an earlier `create` made.
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

    pub(crate) fn faults(&self) -> PathBuf {
        self.0.join("faults.json")
    }

    pub(crate) fn holder(&self) -> PathBuf {
        self.0.join("holder")
    }

    /// The control groups that were given a controller for this stack.
    pub(crate) fn controllers(&self) -> PathBuf {
        self.0.join("controllers")
    }

    /// The shape of the proxy in front of a dependency.
    pub(crate) fn proxy(&self, target: Target) -> PathBuf {
        self.0.join("proxies").join(format!("{target}.json"))
    }

    pub(crate) fn run(&self) -> PathBuf {
        self.0.join("run")
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.0.join("logs").join(format!("{name}.log"))
    }

    /// Name and file of every log, sorted by name.
    pub(crate) fn logs(&self) -> Result<Vec<(String, PathBuf)>, StackError> {
        let folder = self.0.join("logs");
        let files = fs::read_dir(&folder).context(|| cannot("read", &folder))?.flatten();
        let named = files.filter_map(|file| {
            let name = file.file_name().into_string().ok()?.strip_suffix(".log")?.to_owned();
            Some((name, file.path()))
        });
        let mut logs: Vec<(String, PathBuf)> = named.collect();
        logs.sort_unstable();
        Ok(logs)
    }

    pub(crate) fn redis(&self) -> PathBuf {
        self.0.join("redis")
    }

    pub(crate) fn nginx(&self) -> PathBuf {
        self.0.join("nginx")
    }

    /// Files of the monitoring programs.
    pub(crate) fn observe(&self) -> PathBuf {
        self.0.join("observe")
    }

    pub(crate) fn outside(&self) -> PathBuf {
        self.0.join("outside")
    }

    /// The location of the files of servers that run as another user.
    pub(crate) fn services(&self) -> PathBuf {
        fs::read_link(self.outside()).unwrap_or_else(|_| self.0.clone())
    }

    pub(crate) fn postgres(&self) -> PathBuf {
        self.services().join("postgres")
    }

    pub(crate) fn postgres_data(&self) -> PathBuf {
        self.postgres().join("data")
    }

    /// A string that is unique to this state folder, for names in the kernel and in the engine.
    pub(crate) fn tag(&self) -> String {
        // FNV-1a: the same in every version of this program.
        let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        format!("{:08x}", self.0.as_os_str().as_bytes().iter().fold(0x811c_9dc5, hash))
    }

    /// Removes all files of this crate, and the folder if nothing else is left in it.
    pub(crate) fn purge(&self) -> Result<(), StackError> {
        let outside = fs::read_link(self.outside()).ok();
        for path in outside.iter().cloned().chain(
            [
                "postgres",
                "redis",
                "nginx",
                "nginx-temp",
                "proxies",
                "observe",
                "run",
                "logs",
                "outside",
                "compose.json",
                "state.json",
                "faults.json",
                "holder",
                "console.json",
                "run.json",
                "cpu-control",
                LOCK,
            ]
            .map(|part| self.0.join(part)),
        ) {
            let removed = match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => fs::remove_dir_all(&path),
                Ok(_) => fs::remove_file(&path),
                Err(_) => continue,
            };
            removed.context(|| cannot("remove", &path))?;
        }
        // Both fail if the folder contains anything else, as intended.
        let _ = fs::remove_dir(&self.0);
        let _ = outside.as_deref().and_then(Path::parent).map(fs::remove_dir);
        Ok(())
    }
}

/// Replaces a file atomically; only its owner can read it.
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
    fn purge_keeps_other_files() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        fs::write(folder.root().join("notes.txt"), "mine").unwrap();
        folder.purge().unwrap();
        let left: Vec<_> = fs::read_dir(folder.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["notes.txt"]);
    }
}
