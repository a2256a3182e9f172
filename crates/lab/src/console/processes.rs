//! CPU time and memory of the servers that have no `/metrics` of their own: a process and its children, from `/proc`. With
//! containers there are no process numbers, and these values are missing.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    time::Instant,
};

use stack::Target;

/// What a server uses.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// 1 is one core. `None` at the first look.
    pub(super) cpu: Option<f64>,
    pub(super) memory_bytes: f64,
}

#[derive(Debug, Clone, Copy)]
struct Process {
    parent: u32,
    cpu_ticks: u64,
    /// Not shared with files: Postgres' processes share theirs.
    memory_bytes: u64,
}

/// The looks at `/proc`, one after the other.
#[derive(Debug, Default)]
pub(super) struct Processes {
    before: BTreeMap<Target, (Instant, u64)>,
}

impl Processes {
    pub(super) fn look(&mut self, servers: &[(Target, u32)]) -> BTreeMap<Target, Usage> {
        let all = all();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let now = Instant::now();
        let mut usages = BTreeMap::new();
        for (target, pid) in servers {
            let tree = tree(&all, *pid);
            let cpu_ticks: u64 = tree.iter().map(|process| process.cpu_ticks).sum();
            let memory: u64 = tree.iter().map(|process| process.memory_bytes).sum();
            let before = self.before.insert(*target, (now, cpu_ticks));
            // A child that ended takes its time with it; no server works backwards.
            let cpu = before.map(|(at, earlier)| {
                cpu_ticks.saturating_sub(earlier) as f64 / ticks / (now - at).as_secs_f64().max(1e-3)
            });
            usages.insert(*target, Usage { cpu, memory_bytes: memory as f64 });
        }
        self.before.retain(|target, _| usages.contains_key(target));
        usages
    }
}

fn all() -> HashMap<u32, Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let text = fs::read_to_string(entry.path().join("stat")).ok()?;
            let memory = fs::read_to_string(entry.path().join("statm")).unwrap_or_default();
            Some((pid, parse(&text, &memory)?))
        })
        .collect()
}

/// Field numbers as in proc(5), from behind the name, which may hold anything.
fn parse(stat: &str, statm: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    let mut pages = statm.split(' ').map(|text| text.parse::<u64>().unwrap_or(0));
    let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
    Some(Process {
        parent: u32::try_from(number(4)?).ok()?,
        cpu_ticks: number(14)? + number(15)?,
        memory_bytes: resident.saturating_sub(shared) * rustix::param::page_size() as u64,
    })
}

fn tree(all: &HashMap<u32, Process>, root: u32) -> Vec<Process> {
    let mut members = vec![root];
    let mut at = 0;
    while at < members.len() {
        let parent = members[at];
        members.extend(all.iter().filter(|(_, process)| process.parent == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    members.iter().filter_map(|pid| all.get(pid).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_is_skipped() {
        let stat = "7 (a) b) S 3 7 7 0 -1 0 0 0 0 0 11 4 0 0 20 0 1 0 5 0 0";
        let process = parse(stat, "100 50 20 1 0 30 0").unwrap();
        assert_eq!((process.parent, process.cpu_ticks), (3, 15));
        assert_eq!(process.memory_bytes, 30 * rustix::param::page_size() as u64);
    }

    #[test]
    fn this_process_is_found_with_its_usage() {
        let mut processes = Processes::default();
        let usage = processes.look(&[(Target::Nginx, std::process::id())])[&Target::Nginx];
        assert!(usage.memory_bytes > 0.0 && usage.cpu.is_none(), "{usage:?}");
        assert!(processes.look(&[(Target::Nginx, std::process::id())])[&Target::Nginx].cpu.is_some());
    }
}
