//! The kernel's process table, read from `/proc`, and signals that cannot reach a foreign process.

use std::{fmt, fs, io};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};

/// One process at the time of the read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub id: Identity,
    pub name: String,
    /// As in `ps`: R, S, D run; T is stopped by a signal; Z is dead and not yet waited for.
    pub state: char,
    pub parent: u32,
    pub group: u32,
}

/// A pid together with the start time of the process: unlike the pid alone, it is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub pid: u32,
    start: u64,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} since {}", self.pid, self.start)
    }
}

impl Entry {
    pub(crate) fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Parses the line of `/proc/PID/stat`. The name is in parentheses and may itself contain parentheses.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (pid, rest) = line.trim().split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        Some(Self {
            id: Identity { pid: pid.parse().ok()?, start: fields.get(19)?.parse().ok()? },
            name: name.to_owned(),
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
        })
    }
}

impl Identity {
    /// This program.
    pub(crate) fn own() -> Option<Self> {
        entry(std::process::id()).map(|entry| entry.id)
    }

    /// The process as it is now; `None` if it is gone, even if its pid was reused.
    pub(crate) fn look(self) -> Option<Entry> {
        entry(self.pid).filter(|entry| entry.id == self && entry.is_alive())
    }

    /// How much memory it uses, in bytes; `None` when it is gone.
    pub(crate) fn resident(self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        self.look()?;
        let pages: u64 = text.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }

    /// Sends a signal to this process and to no other. False when it is gone.
    pub(crate) fn signal(self, signal: Signal) -> io::Result<bool> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(false);
        };
        let sent = match pidfd_open(pid, PidfdFlags::empty()) {
            // The descriptor stays bound to the process it was opened for, so this check is final.
            Ok(descriptor) => match self.look() {
                Some(_) => pidfd_send_signal(descriptor, signal),
                None => return Ok(false),
            },
            // Kernels before 5.3, and sandboxes that deny the call.
            Err(Errno::NOSYS | Errno::PERM) => match self.look() {
                Some(_) => kill_process(pid, signal),
                None => return Ok(false),
            },
            Err(error) => Err(error),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// The process with this pid.
pub(crate) fn entry(pid: u32) -> Option<Entry> {
    Entry::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// All visible processes, without dead ones.
pub(crate) fn entries() -> Vec<Entry> {
    let Ok(folders) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    folders
        .filter_map(|folder| entry(folder.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(Entry::is_alive)
        .collect()
}

/// Changes with every boot; pids from an earlier boot are meaningless.
pub(crate) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_is_read() {
        let line = "42 (a) (b c) T 7 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 98765 100 200\n";
        let entry = Entry::parse(line).unwrap();
        assert_eq!(entry.id, Identity { pid: 42, start: 98765 });
        assert_eq!((entry.name.as_str(), entry.state, entry.parent, entry.group), ("a) (b c", 'T', 7, 40));
    }

    #[test]
    fn broken_lines_are_refused() {
        for line in ["", "42", "42 (sh", "42 (sh) S 1 2", "x (sh) S 7 40 40 0 -1 1 1 0 0 0 0 0 0 0 20 0 1 0 9"] {
            assert_eq!(Entry::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_signal_does_not_reach_the_next_owner_of_a_pid() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = entry(child.id()).unwrap().id;
        let stranger = Identity { start: id.start - 1, ..id };
        assert!(!stranger.signal(Signal::KILL).unwrap());
        assert!(id.look().is_some());
        assert!(id.signal(Signal::KILL).unwrap());
        child.wait().unwrap();
        assert!(!id.signal(Signal::KILL).unwrap());
    }
}
