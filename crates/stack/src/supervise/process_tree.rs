//! All processes of one server: the one that was started, its workers, and workers that outlive it.

use std::{fs, path::PathBuf, time::Duration};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::{
    launch,
    table::{self, Entry, Identity},
};
use crate::{Interrupt, StackError, error::Context, folder::Folder};

/// Signals act within milliseconds; this limit is for a process that waits for its disk.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(10);

/// The members are looked up on every call, because servers start and end workers all the time.
#[derive(Debug)]
pub(crate) struct ProcessTree {
    name: String,
    leader: Option<Identity>,
    /// Postgres's backends leave its process group, but all of them have its data folder as working directory.
    data: Option<PathBuf>,
}

impl ProcessTree {
    pub(crate) fn find(folder: &Folder, name: &str) -> Result<Self, StackError> {
        let recorded = launch::recorded(folder, name)?.map(|entry| entry.id);
        let leader = recorded.filter(|id| id.look().is_none() || is_ours(folder, name, *id));
        let data = (name == "postgres").then(|| folder.postgres_data());
        Ok(Self { name: name.to_owned(), leader, data })
    }

    pub(crate) fn leader(&self) -> Option<Entry> {
        self.leader.and_then(Identity::look)
    }

    /// The processes alive now, the leader first.
    pub(crate) fn members(&self) -> Vec<Entry> {
        let entries = table::entries();
        let mut members: Vec<Entry> = Vec::new();
        if let Some(leader) = self.leader {
            // While a group has members, the kernel does not reuse its id. So the group belongs to this server unless
            // the id already belongs to another process.
            let number_is_ours = table::entry(leader.pid).is_none_or(|now| now.id == leader);
            if number_is_ours {
                let in_group = |entry: &&Entry| entry.id == leader || entry.group == leader.pid;
                members.extend(entries.iter().filter(in_group).cloned());
            }
        }
        if let Some(data) = &self.data {
            let works_there = |entry: &&Entry| {
                let folder = || fs::read_link(format!("/proc/{}/cwd", entry.id.pid));
                entry.name == "postgres" && folder().is_ok_and(|folder| folder == *data)
            };
            members.extend(entries.iter().filter(works_there).cloned());
        }
        loop {
            let is_new_child = |entry: &&Entry| {
                members.iter().any(|member| member.id.pid == entry.parent)
                    && members.iter().all(|member| member.id != entry.id)
            };
            let children: Vec<Entry> = entries.iter().filter(is_new_child).cloned().collect();
            if children.is_empty() {
                break;
            }
            members.extend(children);
        }
        members.sort_by_key(|entry| (Some(entry.id) != self.leader, entry.id.pid));
        members.dedup_by_key(|entry| entry.id.pid);
        members
    }

    pub(crate) fn signal_leader(&self, signal: Signal) -> Result<bool, StackError> {
        self.leader.map_or(Ok(false), |leader| leader.signal(signal)).context(|| format!("cannot signal {}", self.name))
    }

    /// Kills every process. Returns how many there were.
    pub(crate) fn kill(&self) -> Result<usize, StackError> {
        self.signal_until(Signal::KILL, "end", |_| true)
    }

    /// Freezes every process. The leader is first, so that it starts no more workers meanwhile.
    pub(crate) fn pause(&self) -> Result<usize, StackError> {
        self.signal_until(Signal::STOP, "freeze", |entry| !entry.is_stopped())
    }

    /// Thaws every frozen process.
    pub(crate) fn resume(&self) -> Result<usize, StackError> {
        self.signal_until(Signal::CONT, "wake", Entry::is_stopped)
    }

    /// Signals the processes that `concerns` selects until there are none, and returns how many there were.
    fn signal_until(&self, signal: Signal, verb: &str, concerns: fn(&Entry) -> bool) -> Result<usize, StackError> {
        let mut seen: Vec<Identity> = Vec::new();
        let mut failed = None;
        // Not interruptible: a partial fault is worse than a late Ctrl-C.
        let done = Interrupt::default().wait_while_cleaning(SIGNAL_PATIENCE, || {
            let members: Vec<Entry> = self.members().into_iter().filter(concerns).collect();
            for member in &members {
                failed = failed.take().or(member.id.signal(signal).err());
                if !seen.contains(&member.id) {
                    seen.push(member.id);
                }
            }
            members.is_empty() || failed.is_some()
        });
        match failed {
            Some(source) => Err(StackError::Io { what: format!("cannot signal {}", self.name), source }),
            None if done => Ok(seen.len()),
            None => Err(self.unmoved(verb)),
        }
    }

    fn unmoved(&self, verb: &str) -> StackError {
        let left: Vec<String> = self
            .members()
            .iter()
            .map(|entry| format!("{} ({}, state {})", entry.id.pid, entry.name, entry.state))
            .collect();
        StackError::Conflict(format!("could not {verb} all of {}: {} left", self.name, left.join(", ")))
    }
}

/// A foreign pid in `run/` is ignored: a process that was started here writes to its log, or has its working directory
/// in the state folder.
fn is_ours(folder: &Folder, name: &str, id: Identity) -> bool {
    let link = |name: &str| fs::read_link(format!("/proc/{}/{name}", id.pid)).unwrap_or_default();
    let (log, services) = (folder.log(name), folder.services());
    let writes_there =
        ["fd/1", "fd/2"].iter().any(|fd| link(fd).to_string_lossy().starts_with(&*log.to_string_lossy()));
    let works_there = || {
        let cwd = link("cwd");
        cwd.starts_with(folder.root()) || cwd.starts_with(&services)
    };
    writes_there || works_there()
}

/// A dead child stays in the process table until its parent has waited for it.
pub(crate) fn collect_if_child(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}
