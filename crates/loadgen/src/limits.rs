//! The limits of the process: every connection is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::LoadError;

/// The files that a worker opens besides its connections: epoll, the timer and, briefly, its scheduler statistics.
const PER_WORKER: u64 = 3;
/// The number of other files: results, signals, the event loop that watches the run.
const OTHERS: u64 = 24;

/// Raises the soft limit as needed, if permitted.
pub(crate) fn allow_descriptors(connections: usize, threads: usize) -> Result<(), LoadError> {
    let needed = connections as u64 + threads as u64 * PER_WORKER + open_now() + OTHERS;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let limit = maximum.unwrap_or(u64::MAX);
    if limit < needed || setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }).is_err() {
        return Err(LoadError::Descriptors { connections, needed, limit });
    }
    Ok(())
}

/// The number of open files of the process; an estimate if the kernel does not show them.
fn open_now() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(16, |open| open.count() as u64)
}
