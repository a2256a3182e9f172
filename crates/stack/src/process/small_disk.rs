//! A file system of one megabyte for Postgres, for a disk that can be filled without filling the machine's.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
};

use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::geteuid,
};

use super::{ProcessRecord, account};
use crate::{
    StackError,
    error::{Context, cannot},
    folder::Folder,
};

/// An empty index takes one page of 8 KiB.
const OPTIONS: &std::ffi::CStr = c"size=1m,mode=0700";

/// Where it is, if this user may make it.
pub(super) fn path(folder: &Folder) -> Result<PathBuf, StackError> {
    if geteuid().is_root() { Ok(place(folder)) } else { Err(not_permitted("only root can mount a file system")) }
}

fn place(folder: &Folder) -> PathBuf {
    folder.postgres().join("small-disk")
}

pub(super) fn make(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    // What a fault that was cut short has left.
    remove(folder)?;
    let (path, owner) = (place(folder), record.postgres_account.as_ref());
    // It is there without the file system as well, so that Postgres' link to it always leads somewhere.
    account::own_folder(&path, owner)?;
    match mount("lab", &path, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, OPTIONS) {
        Ok(()) => account::own_folder(&path, owner),
        Err(Errno::PERM | Errno::ACCESS) => Err(not_permitted("this system does not let root mount a file system")),
        Err(errno) => Err(errno).context(|| cannot("mount a file system at", &path)),
    }
}

/// Writes until the kernel says that nothing more fits.
pub(super) fn fill(folder: &Folder) -> Result<(), StackError> {
    let path = place(folder).join("filler");
    let what = || cannot("write", &path);
    let mut file = File::create(&path).context(what)?;
    loop {
        match file.write(&[0; 4096]) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
            Err(error) => return Err(error).context(what),
        }
    }
}

/// Nothing happens where there is none.
pub(super) fn remove(folder: &Folder) -> Result<(), StackError> {
    let path = place(folder);
    match unmount(&path, UnmountFlags::DETACH) {
        // Not mounted, or not there; another user has not mounted anything.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::PERM) if !is_mounted(&path) => Ok(()),
        Err(Errno::PERM) => Err(not_permitted("only root can unmount a file system")),
        Err(errno) => Err(errno).context(|| cannot("unmount", &path)),
    }
}

/// A folder of another device than its parent's.
fn is_mounted(path: &std::path::Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |path: &std::path::Path| fs::metadata(path).map(|found| found.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn not_permitted(what: &str) -> StackError {
    StackError::NotPermitted {
        what: what.to_owned(),
        remedy: "A full disk needs a small file system of its own: run it with sudo".to_owned(),
    }
}
