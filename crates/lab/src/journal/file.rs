//! The journal as a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Mutex,
};

use thiserror::Error;

use super::{Entry, SCHEMA};

/// Why a journal could not be written or read.
#[derive(Debug, Error)]
pub enum JournalError {
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is no journal of the lab: {why}", path = path.display())]
    Foreign { path: PathBuf, why: String },
    #[error("{path} has the schema {found}, and this lab reads {SCHEMA}", path = path.display())]
    Schema { path: PathBuf, found: String },
    #[error("{path}, line {line}: {why}", path = path.display())]
    Line { path: PathBuf, line: usize, why: String },
}

/// Appends to a journal, from several threads.
#[derive(Debug)]
pub struct Writer {
    path: PathBuf,
    file: Mutex<Result<File, io::ErrorKind>>,
}

impl Writer {
    /// Creates a new file; it is an error if the file exists.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn create(path: &Path) -> Result<Self, JournalError> {
        let file = OpenOptions::new().create_new(true).append(true).open(path);
        let file = file.map_err(|source| JournalError::Write { path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file: Mutex::new(Ok(file)) })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a line in one write. After an error (a full disk) no other line is written, so the journal is complete
    /// up to that point.
    ///
    /// # Errors
    /// This line or an earlier one could not be written.
    pub fn append(&self, entry: &Entry) -> Result<(), JournalError> {
        let failed = |source| JournalError::Write { path: self.path.clone(), source };
        let mut text = serde_json::to_vec(entry).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &mut *file {
            Err(kind) => Err(failed((*kind).into())),
            Ok(open) => open.write_all(&text).map_err(|source| {
                *file = Err(source.kind());
                failed(source)
            }),
        }
    }
}

/// A parsed journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Journal {
    pub entries: Vec<Entry>,
    /// Whether the last line is incomplete: the run was killed, or is still going on.
    pub is_cut: bool,
}

impl Journal {
    /// # Errors
    /// The file cannot be read or is not a journal of this schema; names the line.
    pub fn read(path: &Path) -> Result<Self, JournalError> {
        let text = std::fs::read(path).map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
        Self::parse(&String::from_utf8_lossy(&text), path)
    }

    /// Parses the text of a journal; `path` is for errors.
    ///
    /// # Errors
    /// It is not a journal of this schema; names the line.
    pub fn parse(text: &str, path: &Path) -> Result<Self, JournalError> {
        let foreign = |why: &str| JournalError::Foreign { path: path.to_owned(), why: why.to_owned() };
        let first = text.lines().next().filter(|line| !line.is_empty()).ok_or_else(|| foreign("it is empty"))?;
        check_first(first, path)?;
        let mut entries = Vec::new();
        let mut is_cut = !text.ends_with('\n');
        let lines = text.lines().count();
        for (number, line) in (1..).zip(text.lines()) {
            match serde_json::from_str(line) {
                Ok(entry) => entries.push(entry),
                Err(_) if number == lines && is_cut && number > 1 => {}
                Err(error) => {
                    return Err(JournalError::Line { path: path.to_owned(), line: number, why: error.to_string() });
                }
            }
        }
        is_cut |= !matches!(entries.last(), Some(Entry::End { .. }));
        Ok(Self { entries, is_cut })
    }
}

/// Refuses a journal of another schema before the rest of it is parsed.
fn check_first(line: &str, path: &Path) -> Result<(), JournalError> {
    #[derive(serde::Deserialize)]
    struct First {
        schema: String,
    }
    let first: First = serde_json::from_str(line).map_err(|_| JournalError::Foreign {
        path: path.to_owned(),
        why: "its first line names no schema".to_owned(),
    })?;
    if first.schema == SCHEMA {
        Ok(())
    } else {
        Err(JournalError::Schema { path: path.to_owned(), found: first.schema })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(text: &str) -> Entry {
        Entry::Note { text: text.to_owned() }
    }

    /// The beginning of a journal of this schema.
    fn first(schema: &str) -> String {
        format!("{{\"entry\":\"begin\",\"schema\":\"{schema}\"}}\n")
    }

    #[test]
    fn a_full_disk_is_told_once_and_for_all() {
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let writer = Writer { path: "/dev/full".into(), file: Mutex::new(Ok(file)) };
        for _ in 0..2 {
            let error = writer.append(&note("x")).unwrap_err().to_string();
            assert!(
                error.contains("cannot write /dev/full") && error.contains("No space") || error.contains("space"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_journal_is_never_written_over() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("journal.ndjson");
        let writer = Writer::create(&path).unwrap();
        writer.append(&note("one")).unwrap();
        assert!(matches!(Writer::create(&path), Err(JournalError::Write { .. })));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"entry\":\"note\",\"text\":\"one\"}\n");
    }

    #[test]
    fn what_is_no_journal_of_this_schema_is_refused() {
        let parse = |text: &str| Journal::parse(text, Path::new("j")).unwrap_err();
        assert!(matches!(parse(""), JournalError::Foreign { .. }));
        assert!(matches!(parse("hello\n"), JournalError::Foreign { .. }));
        assert!(matches!(parse(&first("lab-journal/99")), JournalError::Schema { .. }));
        assert!(matches!(parse(&format!("{}oops\n", first(SCHEMA))), JournalError::Line { line: 1, .. }));
    }
}
