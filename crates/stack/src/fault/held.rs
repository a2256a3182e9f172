//! Faults that somebody has to keep up: a process of their own does, so that they last after the lab has returned and end
//! when that process does.

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

/// Ends it. Nothing happens when it has ended already.
pub(super) fn end(site: &Site<'_>, id: u64) -> Result<(), StackError> {
    // Its steps are of no interest to anybody.
    let quiet = crate::Operation { progress: &crate::Silent, interrupt: site.operation.interrupt.clone() };
    stop_together(site.folder, &[name(id)], &quiet).map(drop)
}

fn name(id: u64) -> String {
    format!("fault-{id}")
}
