//! Result files: opened before the run, so that a wrong path does not waste a run; written completely or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::LoadError;

/// A file to be written once.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    /// The temporary file, renamed to `path` at the end. `None` for a target that cannot be replaced: a pipe, a
    /// terminal.
    draft: Option<PathBuf>,
    file: Option<File>,
}

impl Output {
    /// Opens the file, or a temporary file next to it.
    pub(super) fn open(path: &Path) -> Result<Self, LoadError> {
        let fail = |source| LoadError::Io { verb: "write", path: path.to_owned(), source };
        let is_special = fs::metadata(path).is_ok_and(|meta| !meta.is_file());
        if is_special {
            let file = OpenOptions::new().write(true).open(path).map_err(fail)?;
            return Ok(Self { path: path.to_owned(), draft: None, file: Some(file) });
        }
        let Some(name) = path.file_name() else {
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, "it is no file name")));
        };
        let draft = path.with_file_name(format!(".{}.{}.draft", name.to_string_lossy(), std::process::id()));
        let file = File::create(&draft).map_err(fail)?;
        Ok(Self { path: path.to_owned(), draft: Some(draft), file: Some(file) })
    }

    /// Writes the text and renames the temporary file.
    pub(super) fn write(mut self, text: &str) -> Result<(), LoadError> {
        let result = match self.file.take() {
            // A full disk may only be reported when the data is synced.
            Some(mut file) => file
                .write_all(text.as_bytes())
                .and_then(|()| if self.draft.is_some() { file.sync_all() } else { Ok(()) }),
            None => Ok(()),
        };
        let placed = result.and_then(|()| match &self.draft {
            Some(draft) => fs::rename(draft, &self.path),
            None => Ok(()),
        });
        if placed.is_ok() {
            self.draft = None;
        }
        placed.map_err(|source| LoadError::Io { verb: "write", path: self.path.clone(), source })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(draft) = &self.draft {
            // It holds no result. If it cannot be removed, its name shows that it is temporary.
            let _left_behind = fs::remove_file(draft);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, "old").unwrap();
        drop(Output::open(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "old", "a run that broke down leaves the earlier result");
        Output::open(&path).unwrap().write("new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no draft is left");
    }

    #[test]
    fn a_full_disk_and_a_missing_folder_are_errors() {
        let full = Output::open(Path::new("/dev/full")).unwrap().write("x").unwrap_err();
        assert!(full.to_string().contains("/dev/full"), "{full}");
        assert!(Output::open(Path::new("no/such/folder/a.json")).is_err());
        assert!(Output::open(Path::new("/")).is_err());
    }
}
