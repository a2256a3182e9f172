//! Where the journal of the present run is, for those who watch the stack: a file in its state folder. It stays after the run,
//! so that the report is found; who holds the stack tells whether the run still goes on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use stack::StackError;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AnnouncedRun {
    pub(crate) pid: u32,
    pub(crate) journal: PathBuf,
    /// The folder for all runs, whose index is written after the run. A lab of an earlier version did not tell.
    #[serde(default)]
    pub(crate) reports: Option<PathBuf>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("run.json")
}

/// `reports` is the folder for the reports of all runs.
///
/// # Errors
/// The state folder cannot be written.
pub(crate) fn announce(folder: &Path, journal: &Path, reports: &Path) -> Result<(), StackError> {
    let failed = |source| StackError::Io { what: format!("cannot write {}", path(folder).display()), source };
    let absolute = |path: &Path| std::path::absolute(path).map_err(failed);
    let announced =
        AnnouncedRun { pid: std::process::id(), journal: absolute(journal)?, reports: Some(absolute(reports)?) };
    let text = serde_json::to_string(&announced).map_err(|error| failed(error.into()))?;
    std::fs::write(path(folder), text).map_err(failed)
}

/// The last run on this stack. A file that is just being written is none.
pub(crate) fn find(folder: &Path) -> Option<AnnouncedRun> {
    serde_json::from_str(&std::fs::read_to_string(path(folder)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_is_found() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(find(place.path()), None);
        for journal in ["/reports/one/journal.ndjson", "/reports/two/journal.ndjson"] {
            announce(place.path(), Path::new(journal), Path::new("/reports")).unwrap();
            let reports = Some("/reports".into());
            let announced = AnnouncedRun { pid: std::process::id(), journal: journal.into(), reports };
            assert_eq!(find(place.path()), Some(announced));
        }
        std::fs::write(path(place.path()), r#"{"pid":1,"journal":"/j"}"#).unwrap();
        assert_eq!(find(place.path()).unwrap().reports, None, "of an earlier version");
    }
}
