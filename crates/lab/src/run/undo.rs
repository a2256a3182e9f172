//! How a stack that was lent to a run is given back: faults are in the stack's own ledger; its shape is noted here before it
//! is changed, so that `lab heal` can put it back after a run that was killed.

use std::{fs, io, path::Path};

use stack::{Operation, Stack, StackError, Topology};

/// Beside the stack's own files.
const FILE: &str = "shape-before-run.json";

/// Notes the shape to come back to; an older note, of a run that was killed, is the one that counts.
pub(super) fn note(folder: &Path, before: &Topology) -> Result<(), StackError> {
    let path = folder.join(FILE);
    if path.exists() {
        return Ok(());
    }
    let failed = |source| StackError::Io { what: format!("cannot write {}", path.display()), source };
    let text = serde_json::to_string(before).map_err(|error| failed(error.into()))?;
    fs::write(&path, text).map_err(failed)
}

/// Puts the shape back, if one is noted. True when there was one.
///
/// # Errors
/// The stack could not be brought back into shape; the note stays.
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
