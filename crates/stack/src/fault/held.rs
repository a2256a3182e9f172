//! Faults that a process must keep up: each has its own process, so that it continues after the lab has returned and
//! ends when that process ends.

use super::injection::Site;
use crate::{
    StackError,
    agent::{self, AgentTask},
    supervise::stop::stop_together,
};

/// Starts the process that keeps this fault up.
pub(super) fn begin(site: &Site<'_>, id: u64, task: &AgentTask) -> Result<(), StackError> {
    agent::start(site.folder, site.agent, &name(id), task)
}

/// Ends it. Does nothing if it has already ended.
pub(super) fn end(site: &Site<'_>, id: u64) -> Result<(), StackError> {
    // Its progress is not shown.
    let quiet = crate::Operation { progress: &crate::Silent, interrupt: site.operation.interrupt.clone() };
    stop_together(site.folder, &[name(id)], &quiet).map(drop)
}

fn name(id: u64) -> String {
    format!("fault-{id}")
}
