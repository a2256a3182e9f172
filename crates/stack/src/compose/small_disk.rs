//! A small file system for Postgres: its container's /tmp, of 16 MB, which Postgres itself does not use.

use super::{ComposeRecord, docker::docker};
use crate::{StackError, Target};

pub(super) const PATH: &str = "/tmp/lab-small-disk";

pub(super) fn make(record: &ComposeRecord) -> Result<(), StackError> {
    remove(record)?;
    run(record, &format!("mkdir -m 700 {PATH}"))
}

/// Writes until the kernel says that nothing more fits.
pub(super) fn fill(record: &ComposeRecord) -> Result<(), StackError> {
    run(record, &format!("! dd if=/dev/zero of={PATH}/filler bs=4096 2>{PATH}/said || exit 1"))
}

/// Nothing happens where there is none.
pub(super) fn remove(record: &ComposeRecord) -> Result<(), StackError> {
    run(record, &format!("rm -rf {PATH}"))
}

fn run(record: &ComposeRecord, script: &str) -> Result<(), StackError> {
    docker(&["exec", &record.running(Target::Postgres)?.id, "sh", "-c", script]).map(drop)
}
