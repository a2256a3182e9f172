//! The word of a console to other labs of this stack: a locked file in the state folder, which `lab status` reads and a second
//! console finds. The lock ends with the process, so a crash leaves no false word.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Announced {
    pub(crate) pid: u32,
    pub(crate) address: String,
    /// With the token: the file is for its owner only.
    pub(crate) link: String,
}

#[derive(Debug)]
pub(super) struct Announcement {
    folder: PathBuf,
    announced: Announced,
    file: Option<File>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("console.json")
}

impl Announcement {
    /// # Errors
    /// The console that this stack has already.
    pub(super) fn new(folder: &Path, announced: Announced) -> Result<Self, Announced> {
        if let Some(other) = find(folder) {
            return Err(other);
        }
        let mut announcement = Self { folder: folder.to_owned(), announced, file: None };
        announcement.renew();
        Ok(announcement)
    }

    /// Says it again where the file is gone: a stack was purged and started anew. Without a state folder there is nobody to
    /// tell.
    pub(super) fn renew(&mut self) {
        let path = path(&self.folder);
        // An error means that the file is gone, which is what is asked here.
        let inode = |file: &File| file.metadata().map(|found| found.ino()).ok();
        let there = std::fs::metadata(&path).map(|found| found.ino()).ok();
        if there.is_some() && self.file.as_ref().and_then(inode) == there {
            return;
        }
        // Beside the marker of a state folder, never into an empty one: that would not be taken for one.
        // What cannot be announced now is tried again with the next call.
        self.file = if self.folder.join("lab.lock").exists() { self.write(&path).ok() } else { None };
    }

    fn write(&self, path: &Path) -> io::Result<File> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        file.try_lock().map_err(io::Error::from)?;
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(serde_json::to_string(&self.announced)?.as_bytes())?;
        Ok(file)
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(path(&self.folder));
        }
    }
}

/// The console of this stack that runs now.
pub(crate) fn find(folder: &Path) -> Option<Announced> {
    let mut file = File::open(path(folder)).ok()?;
    if !matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
        return None;
    }
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_console_finds_the_first_and_nothing_of_one_that_is_gone() {
        let place = tempfile::tempdir().unwrap();
        let announced = Announced { pid: 1, address: "http://127.0.0.1:1".to_owned(), link: "l".to_owned() };
        let announce = || Announcement::new(place.path(), announced.clone());
        drop(announce().unwrap());
        assert!(!path(place.path()).exists(), "not into a folder that is no state folder");
        std::fs::write(place.path().join("lab.lock"), "").unwrap();
        let first = announce().unwrap();
        assert_eq!(find(place.path()), Some(announced.clone()));
        assert_eq!(announce().unwrap_err(), announced);
        drop(first);
        assert_eq!(find(place.path()), None);
        std::fs::write(path(place.path()), "left by a crash").unwrap();
        assert!(announce().is_ok());
    }
}
