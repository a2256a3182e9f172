//! `state.json`: what a lab needs to know to take over a stack that another lab started.
//!
//! It is written *before* anything is started. It does not list the running processes: each process writes its own pid
//! to `run/`, so that a crash at any moment leaves both consistent. Active faults are not in it either (see
//! `fault::ledger`). Its larger part belongs to the driver, and only the driver reads it.

use std::{fs, io, path::PathBuf};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    DriverKind, StackError,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// Raised when a field changes its meaning; a record with another schema is not read.
const SCHEMA: u32 = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// `up` is running, or was interrupted.
    Starting,
    Running,
    /// `down` is running, or was interrupted.
    Stopping,
    /// Nothing runs; only the engine's volumes are left, which `down --purge` has to find.
    Stopped,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    schema: u32,
    pub driver: DriverKind,
    pub stage: Stage,
    /// The program that runs the faults that must continue after a lab has ended (see `agent`).
    pub agent: PathBuf,
    part: serde_json::Value,
}

impl Record {
    /// The record of a stack that is about to be started.
    pub(crate) fn new(driver: DriverKind, agent: PathBuf, part: &impl Serialize) -> Result<Self, StackError> {
        Self { schema: SCHEMA, driver, stage: Stage::Starting, agent, part: serde_json::Value::Null }.with(part)
    }

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
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if value["schema"] != SCHEMA {
            return Err(broken(format!("it was written by another version: schema {}", value["schema"])));
        }
        serde_json::from_value(value).map(Some).map_err(|error| broken(error.to_string()))
    }

    /// The driver's own part.
    pub(crate) fn part<T: DeserializeOwned>(&self, folder: &Folder) -> Result<T, StackError> {
        serde_json::from_value(self.part.clone())
            .map_err(|error| StackError::Record { path: folder.record(), detail: error.to_string() })
    }

    pub(crate) fn with(mut self, part: &impl Serialize) -> Result<Self, StackError> {
        self.part =
            serde_json::to_value(part).map_err(io::Error::from).context(|| "cannot make a record".to_owned())?;
        Ok(self)
    }

    pub(crate) fn at(mut self, stage: Stage) -> Self {
        self.stage = stage;
        self
    }

    pub(crate) fn save(&self, folder: &Folder) -> Result<(), StackError> {
        let path = folder.record();
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from).context(|| cannot("write", &path))?;
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

    /// An error unless the stack is up and not stopping.
    pub(crate) fn check_complete(&self) -> Result<(), StackError> {
        let what = match self.stage {
            Stage::Running => return Ok(()),
            Stage::Starting => "did not start completely",
            Stage::Stopping | Stage::Stopped => "is stopping",
        };
        Err(StackError::Conflict(format!("the stack {what}; `lab down` cleans up, then `lab up` starts a new one")))
    }
}
