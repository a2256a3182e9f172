//! The process's own limits: every connection is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::LoadError;

/// Files a worker has open besides its connections: epoll and timer, and the passing look at its run queue.
const PER_WORKER: u64 = 3;
/// What may still be opened besides: result files, signals, the event loop that watches the run.
const OTHERS: u64 = 24;

/// Raises the soft limit as far as needed and allowed.
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

/// How many files the process has open; a guess where the kernel does not show them.
fn open_now() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(16, |open| open.count() as u64)
}
