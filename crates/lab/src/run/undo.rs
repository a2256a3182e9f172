//! Restores a stack after a run. Faults are in the stack's own ledger. Its shape is recorded here before it is changed,
//! so that `lab heal` can restore it after a run that was killed.

use std::{fs, io, path::Path};

use stack::{Operation, Stack, StackError, Topology};

/// In the stack's state folder.
const FILE: &str = "shape-before-run.json";

/// Records the shape to restore. If a killed run has left an older record, that one is kept.
pub(super) fn note(folder: &Path, before: &Topology) -> Result<(), StackError> {
    let path = folder.join(FILE);
    if path.exists() {
        return Ok(());
    }
    let failed = |source| StackError::Io { what: format!("cannot write {}", path.display()), source };
    let text = serde_json::to_string(before).map_err(|error| failed(error.into()))?;
    fs::write(&path, text).map_err(failed)
}

/// Restores the recorded shape. Returns whether there was one.
///
/// # Errors
/// The shape could not be restored; the record is kept.
pub(crate) fn restore(stack: &Stack, operation: &Operation<'_>) -> Result<bool, StackError> {
    let path = stack.folder().join(FILE);
    let failed = |what: &str, source| StackError::Io { what: format!("cannot {what} {}", path.display()), source };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("read", error)),
    };
    let before: Topology = serde_json::from_str(&text).map_err(|error| failed("read", error.into()))?;
    stack.configure(&before, operation)?;
    fs::remove_file(&path).map_err(|error| failed("remove", error))?;
    Ok(true)
}
