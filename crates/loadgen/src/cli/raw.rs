//! `--raw`: every request as a line of JSON, written during the run.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::engine::RawSink;
use crate::error::LoadError;
use crate::record::RawRecord;

/// The file, shared with the run that writes to it.
#[derive(Clone, Debug)]
pub(super) struct RawFile {
    path: PathBuf,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    file: BufWriter<File>,
    /// The first error; nothing is written after it.
    fault: Option<io::Error>,
}

#[derive(Serialize)]
struct Line<'a> {
    run: usize,
    kind: &'a str,
    planned_ns: u64,
    sent_ns: u64,
    ended_ns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    good: bool,
}

impl RawFile {
    /// Truncates the file.
    pub(super) fn create(path: &Path) -> Result<Self, LoadError> {
        let file =
            File::create(path).map_err(|source| LoadError::Io { verb: "write", path: path.to_owned(), source })?;
        let state = State { file: BufWriter::new(file), fault: None };
        Ok(Self { path: path.to_owned(), state: Arc::new(Mutex::new(state)) })
    }

    /// The sink for the requests of run number `run`.
    pub(super) fn sink(&self, run: usize, kinds: Vec<String>) -> RawSink {
        let state = self.state.clone();
        Box::new(move |records| {
            let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
            for record in records {
                if state.fault.is_some() {
                    return;
                }
                let written = write(&mut state.file, run, &kinds, record);
                state.fault = written.err();
            }
        })
    }

    /// Writes the buffered lines, and returns the first error.
    pub(super) fn finish(&self) -> Result<(), LoadError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let done = match state.fault.take() {
            Some(fault) => Err(fault),
            None => state.file.flush(),
        };
        done.map_err(|source| LoadError::Io { verb: "write", path: self.path.clone(), source })
    }
}

fn write(file: &mut BufWriter<File>, run: usize, kinds: &[String], record: &RawRecord) -> io::Result<()> {
    // 64 bits of nanoseconds are 584 years.
    let nanos = |moment: std::time::Duration| u64::try_from(moment.as_nanos()).unwrap_or(u64::MAX);
    let line = Line {
        run,
        kind: kinds.get(record.kind).map_or("", String::as_str),
        planned_ns: nanos(record.planned),
        sent_ns: nanos(record.sent),
        ended_ns: nanos(record.ended),
        status: record.end.ok(),
        error: record.end.err().map(crate::outcome::ErrorClass::word),
        good: record.is_good,
    };
    serde_json::to_writer(&mut *file, &line)?;
    file.write_all(b"\n")
}
