//! `state.json`: what a lab has to know to take over a stack that another lab started.
//!
//! It is written *before* anything is started or broken. Which processes live is not in it: each process puts its own
//! number into `run/`, so no moment of a crash can separate the two.

use std::{fs, io};

use serde::{Deserialize, Serialize};

use crate::{
    StackError,
    compose::ComposeRecord,
    error::{Context, cannot},
    folder::{Folder, write_private},
    process::ProcessRecord,
};

/// Raised when a field changes its meaning; a record of another number is not read.
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// `up` is at work, or was cut short.
    Starting,
    Running,
    /// `down` is at work, or was cut short.
    Stopping,
    /// Nothing runs; what is left are the engine's volumes, which `down --purge` has to find.
    Stopped,
}

impl Stage {
    /// An error unless the stack is complete and meant to stay.
    pub(crate) fn check(self) -> Result<(), StackError> {
        let what = match self {
            Self::Running => return Ok(()),
            Self::Starting => "has not come up completely",
            Self::Stopping | Self::Stopped => "is on its way down",
        };
        Err(StackError::Conflict(format!("the stack {what}; `lab down` clears it, then `lab up` starts afresh")))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "driver", rename_all = "lowercase")]
pub(crate) enum Record {
    Process(ProcessRecord),
    Compose(ComposeRecord),
}

#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    schema: u32,
    #[serde(flatten)]
    record: T,
}

impl Record {
    pub(crate) fn load(folder: &Folder) -> Result<Option<Self>, StackError> {
        let path = folder.record();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StackError::Io { what: cannot("read", &path), source });
            }
        };
        let broken = |detail: String| StackError::Record { path: path.clone(), detail };
        let envelope: Envelope<serde_json::Value> = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
        if envelope.schema != SCHEMA {
            return Err(broken(format!("it was written by another version: schema {}", envelope.schema)));
        }
        serde_json::from_value(envelope.record).map(Some).map_err(|e| broken(e.to_string()))
    }

    pub(crate) fn save(&self, folder: &Folder) -> Result<(), StackError> {
        let path = folder.record();
        let text = serde_json::to_string_pretty(&Envelope { schema: SCHEMA, record: self })
            .map_err(io::Error::from)
            .context(|| cannot("write", &path))?;
        write_private(&path, &text)
    }

    pub(crate) fn remove(folder: &Folder) -> Result<(), StackError> {
        match fs::remove_file(folder.record()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StackError::Io { what: cannot("remove", folder.record()), source: error })
            }
            _ => Ok(()),
        }
    }
}
