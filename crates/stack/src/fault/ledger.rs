//! `faults.json`: every fault that was injected and is not undone. An entry is written before a fault acts and removed
//! after it is undone, so a lab that is killed at any moment leaves no fault that `lab heal` does not know.

use std::{fs, io};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::{ActiveFault, FaultKind, ServerFault, now};
use crate::{
    StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// Raised when a field changes its meaning.
const SCHEMA: u32 = 1;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub fault: ActiveFault,
    /// The data that the undo needs; its form depends on the kind of fault.
    pub undo: serde_json::Value,
    /// The session that injected it, if any.
    pub session: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ledger {
    schema: u32,
    next: u64,
    entries: Vec<Entry>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { schema: SCHEMA, next: 1, entries: Vec::new() }
    }
}

impl Ledger {
    pub(crate) fn load(folder: &Folder) -> Result<Self, StackError> {
        let path = folder.faults();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => return Err(StackError::Io { what: cannot("read", &path), source }),
        };
        let broken = |detail: String| StackError::Record { path: path.clone(), detail };
        let ledger: Self = serde_json::from_str(&text).map_err(|error| broken(error.to_string()))?;
        if ledger.schema == SCHEMA { Ok(ledger) } else { Err(broken(format!("schema {}", ledger.schema))) }
    }

    pub(crate) fn save(&self, folder: &Folder) -> Result<(), StackError> {
        let path = folder.faults();
        let text = serde_json::to_string_pretty(self).map_err(io::Error::from).context(|| cannot("write", &path))?;
        write_private(&path, &text)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn of(&self, target: Target) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.fault.target == target)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.fault.id == id)
    }

    /// The fault of the whole server; there is at most one at a time.
    pub(crate) fn of_server(&self, target: Target) -> Option<(u64, ServerFault)> {
        self.of(target).find_map(|entry| Some((entry.fault.id, entry.fault.kind.of_server()?)))
    }

    pub(crate) fn add(
        &mut self,
        target: Target,
        kind: &FaultKind,
        by: &str,
        session: Option<&str>,
        undo: serde_json::Value,
    ) -> (u64, OffsetDateTime) {
        let (id, asked_at) = (self.next, now());
        self.next += 1;
        self.entries.push(Entry {
            fault: ActiveFault {
                id,
                target,
                kind: kind.clone(),
                by: by.to_owned(),
                asked_at,
                took_effect_at: None,
                evidence: None,
            },
            undo,
            session: session.map(str::to_owned),
        });
        (id, asked_at)
    }

    pub(crate) fn confirm(&mut self, id: u64, at: OffsetDateTime, evidence: &str) {
        for entry in self.entries.iter_mut().filter(|entry| entry.fault.id == id) {
            entry.fault.took_effect_at = Some(at);
            entry.fault.evidence = Some(evidence.to_owned());
        }
    }

    pub(crate) fn remove(&mut self, id: u64) {
        self.entries.retain(|entry| entry.fault.id != id);
    }

    /// After a stack has stopped: faults in memory ended with it, faults in Postgres' data stay until they are undone.
    pub(crate) fn keep_persistent(&mut self) {
        self.entries.retain(|entry| entry.fault.kind.is_persistent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_stay_until_they_are_removed_and_no_id_is_reused() {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        let mut ledger = Ledger::load(&folder).unwrap();
        let (first, _) = ledger.add(Target::Redis, &FaultKind::Pause, "a test", None, serde_json::Value::Null);
        ledger.save(&folder).unwrap();
        let mut ledger = Ledger::load(&folder).unwrap();
        assert_eq!(ledger.of_server(Target::Redis), Some((first, ServerFault::Pause)));
        assert!(ledger.get(first).unwrap().fault.took_effect_at.is_none());
        ledger.remove(first);
        let (second, _) = ledger.add(Target::Redis, &FaultKind::ReadOnly, "a test", None, serde_json::Value::Null);
        assert_ne!(first, second);
        ledger.keep_persistent();
        assert_eq!(ledger.entries().len(), 1);
    }
}
