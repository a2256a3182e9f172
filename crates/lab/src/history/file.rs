//! A history as a file: newline-delimited JSON, appended as calls end, so that a crash loses no completed call.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use stack::StackError;

use super::call::{Broken, Call, Head, Item, Last, Line, SCHEMA};

/// A whole history in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// Its bounds.
    pub head: Head,
    /// Records before the first call.
    pub initial: Vec<Item>,
    /// In the order of their ends.
    pub calls: Vec<Call>,
    /// In the order of their ends.
    pub broken: Vec<Broken>,
    /// Records after the last call.
    pub last: Vec<Last>,
    /// Whether the recording is complete.
    pub complete: bool,
}

impl History {
    /// An empty one.
    #[must_use]
    pub fn new(head: Head) -> Self {
        Self { head, initial: vec![], calls: vec![], broken: vec![], last: vec![], complete: false }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a history of this format; the text names the line.
    pub fn read(path: &Path) -> Result<Self, StackError> {
        let unreadable = |error: io::Error| StackError::Usage(format!("cannot read {}: {error}", path.display()));
        let mut lines = BufReader::new(File::open(path).map_err(unreadable)?).lines();
        let wrong = |number: usize, what: String| StackError::Usage(format!("{}:{number}: {what}", path.display()));
        let first = lines.next().transpose().map_err(unreadable)?.unwrap_or_default();
        let mut history = match parse(&first) {
            Ok(Line::Head(head)) if head.schema == SCHEMA => Self::new(head),
            Ok(Line::Head(head)) => {
                return Err(wrong(1, format!("format {} is not known, only {SCHEMA}", head.schema)));
            }
            Ok(_) | Err(_) => return Err(wrong(1, "not a recorded history: it does not begin with a head".to_owned())),
        };
        let mut cut = None;
        for (line, number) in lines.zip(2..) {
            if let Some((number, error)) = cut {
                return Err(wrong(number, error));
            }
            match parse(&line.map_err(unreadable)?) {
                Ok(line) => history.add(line),
                // If the recorder was killed, the last line may be incomplete.
                Err(error) => cut = Some((number, error.to_string())),
            }
        }
        Ok(history)
    }

    /// Adds a line; a second head is ignored.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::Head(_) => {}
            Line::Initial { item } => self.initial.push(item),
            Line::Call(call) => self.calls.push(call),
            Line::Broken(broken) => self.broken.push(broken),
            Line::Last(last) => self.last.push(last),
            Line::End => self.complete = true,
        }
    }

    /// Every line, in an order that can be parsed again.
    pub fn lines(&self) -> impl Iterator<Item = Line> {
        let head = std::iter::once(Line::Head(self.head.clone()));
        let initial = self.initial.iter().cloned().map(|item| Line::Initial { item });
        let calls = self.calls.iter().cloned().map(Line::Call);
        let broken = self.broken.iter().cloned().map(Line::Broken);
        let last = self.last.iter().cloned().map(Line::Last);
        head.chain(initial).chain(calls).chain(broken).chain(last).chain(self.complete.then_some(Line::End))
    }
}

fn parse(line: &str) -> serde_json::Result<Line> {
    serde_json::from_str(line)
}

/// A history that several threads are writing.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: BufWriter<File>,
    history: History,
    /// The first write error; later lines are kept in memory only.
    failed: Option<io::Error>,
}

impl Log {
    /// A new file.
    pub(super) fn create(path: &Path, head: Head) -> Result<Self, StackError> {
        let opened = OpenOptions::new().write(true).create_new(true).open(path);
        let file = opened.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => {
                StackError::Usage(format!("{} exists already; a recorded history is never overwritten", path.display()))
            }
            _ => StackError::Io { what: format!("cannot create {}", path.display()), source },
        })?;
        let history = History::new(head.clone());
        let log = Self {
            path: path.to_owned(),
            inner: Mutex::new(Inner { file: BufWriter::new(file), history, failed: None }),
        };
        log.add(Line::Head(head));
        Ok(log)
    }

    /// Appends a line. Complete lines are written to the file in blocks of 8 KiB, and all of them by [`Log::flush`].
    pub(super) fn add(&self, line: Line) {
        let text = serde_json::to_vec(&line).map_err(io::Error::from);
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.failed.is_none() {
            let written = text.and_then(|text| {
                inner.file.write_all(&text)?;
                inner.file.write_all(b"\n")
            });
            inner.failed = written.err();
        }
        inner.history.add(line);
    }

    /// The number of calls so far.
    pub(super) fn calls(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).history.calls.len()
    }

    /// Writes everything to the file.
    pub(super) fn flush(&self) -> Result<(), StackError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let flushed = inner.failed.take().map_or(Ok(()), Err).and_then(|()| inner.file.flush());
        flushed.map_err(|source| StackError::Io { what: format!("cannot write {}", self.path.display()), source })
    }

    /// The whole history.
    pub(super) fn finish(self) -> Result<History, StackError> {
        self.flush()?;
        Ok(self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).history)
    }
}
