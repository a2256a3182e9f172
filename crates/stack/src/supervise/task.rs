//! One-off programs: `initdb`, `api migrate`.

use std::time::Duration;

use super::{
    launch::{self, Launch},
    process_tree::ProcessTree,
};
use crate::{Operation, StackError, folder::Folder};

/// Runs a program to completion. Failure is an error that quotes its output.
pub(crate) fn run(
    folder: &Folder,
    launch: &Launch,
    limit: Duration,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut started = launch.start(folder)?;
    match operation.interrupt.wait_for(limit, || {
        started
            .child
            .try_wait()
            .map_err(|source| StackError::Io { what: format!("cannot wait for {}", launch.name), source })
    })? {
        Some(status) if status.success() => {
            launch::forget(folder, &launch.name);
            Ok(())
        }
        Some(status) => Err(started.failure(launch.name.as_str(), format!("it failed ({status})"))),
        None => {
            ProcessTree::find(folder, &launch.name)?.kill()?;
            Err(started.failure(launch.name.as_str(), format!("it did not finish within {} s", limit.as_secs())))
        }
    }
}
