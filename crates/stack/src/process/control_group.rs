//! The kernel's control groups (version 1 or 2) of a stack: one group for each replica, where this user may make some.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::folder::Folder;

/// What a group can bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    Cpu,
    Memory,
}

impl Controller {
    const ALL: [Self; 2] = [Self::Cpu, Self::Memory];

    /// As the kernel names it.
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
        }
    }
}

/// Where new groups can be made, and in which language.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Hierarchy {
    V1(PathBuf),
    V2(PathBuf),
}

/// Why there is no group.
#[derive(Debug)]
pub(super) enum Missing {
    /// The machine has no such control groups.
    Controller,
    /// This user may not make one there.
    Refused(PathBuf, io::Error),
}

/// The file by which a process joins a group.
pub(super) const MEMBERS: &str = "cgroup.procs";

/// Removes this stack's groups, which are empty by now.
pub(super) fn remove(folder: &Folder) {
    for hierarchy in Controller::ALL.into_iter().flat_map(hierarchies) {
        let (Hierarchy::V1(root) | Hierarchy::V2(root)) = hierarchy;
        let home = root.join(group_name(folder));
        for group in fs::read_dir(&home).into_iter().flatten().flatten() {
            // Plain files in there are the kernel's and cannot be removed; folders are ours.
            let _ = fs::remove_dir(group.path());
        }
        let _ = fs::remove_dir(&home);
    }
    give_back(&folder.controllers());
}

/// The folder of this stack's groups.
pub(super) fn home(folder: &Folder, controller: Controller) -> Result<Hierarchy, Missing> {
    let mut last = Missing::Controller;
    for hierarchy in hierarchies(controller) {
        let (Hierarchy::V1(root) | Hierarchy::V2(root)) = &hierarchy;
        let home = root.join(group_name(folder));
        let made = fs::create_dir_all(&home).and_then(|()| match &hierarchy {
            Hierarchy::V1(_) => Ok(()),
            // Groups of version 2 have a controller only if each parent hands it down.
            Hierarchy::V2(root) => {
                [root, &home].iter().try_for_each(|parent| hand_down(parent, controller, &folder.controllers()))
            }
        });
        match (made, hierarchy) {
            (Ok(()), Hierarchy::V1(_)) => return Ok(Hierarchy::V1(home)),
            (Ok(()), Hierarchy::V2(_)) => return Ok(Hierarchy::V2(home)),
            (Err(error), _) => {
                let _ = fs::remove_dir(&home);
                last = Missing::Refused(home, error);
            }
        }
    }
    Err(last)
}

/// Noted in `notes` before it is done, so that it is put back.
fn hand_down(parent: &Path, controller: Controller, notes: &Path) -> io::Result<()> {
    let (file, name) = (parent.join(CONTROL), controller.name());
    if fs::read_to_string(&file)?.split_whitespace().any(|controller| controller == name) {
        return Ok(());
    }
    let mut known = fs::read_to_string(notes).unwrap_or_default();
    known.push_str(&format!("{name} {}\n", parent.display()));
    fs::write(notes, known)?;
    fs::write(file, format!("+{name}"))
}

/// Takes controllers back from where they were handed down, the innermost group first. A group that others use by now
/// keeps them: the kernel refuses that, and rightly.
fn give_back(notes: &Path) {
    let known = fs::read_to_string(notes).unwrap_or_default();
    for (name, parent) in known.lines().rev().filter_map(|line| line.split_once(' ')) {
        let _ = fs::write(Path::new(parent).join(CONTROL), format!("-{name}"));
    }
    let _ = fs::remove_file(notes);
}

const CONTROL: &str = "cgroup.subtree_control";

fn group_name(folder: &Folder) -> String {
    format!("phase-observation{}", folder.root().to_string_lossy().replace('/', "-"))
}

/// Version 1 first: where both are mounted, the controllers are usually there.
fn hierarchies(controller: Controller) -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut found = hierarchies_of(controller, &mounts, &own);
    // In a container the kernel may name groups that cannot be seen from there.
    found.retain(|(Hierarchy::V1(root) | Hierarchy::V2(root))| root.is_dir());
    found
}

fn hierarchies_of(controller: Controller, mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mounts = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|fields| fields.len() > 3);
    // Of lines like `4:cpu,cpuacct:/some/group`.
    let own = |of: &dyn Fn(&str) -> bool| {
        let parts = own.lines().filter_map(|line| line.splitn(3, ':').collect::<Vec<_>>().try_into().ok());
        let path = parts.into_iter().find_map(|[_, controllers, path]: [&str; 3]| of(controllers).then_some(path));
        PathBuf::from(path.unwrap_or_default().trim_start_matches('/'))
    };
    let is_there = |controllers: &str| controllers.split(',').any(|name| name == controller.name());
    let v1 = mounts().filter(|fields| fields[2] == "cgroup" && is_there(fields[3])).flat_map(|fields| {
        let (root, part) = (PathBuf::from(fields[1]), own(&is_there));
        // Below the group that this process is in, whose bounds hold for its stack as well.
        let below = (!part.as_os_str().is_empty()).then(|| Hierarchy::V1(root.join(part)));
        [below, Some(Hierarchy::V1(root))].into_iter().flatten()
    });
    let v2 = mounts().filter(|fields| fields[2] == "cgroup2").flat_map(|fields| {
        let (root, part) = (PathBuf::from(fields[1]), own(&str::is_empty));
        // An ordinary user owns no more than a part: the group above the one that this process is in.
        let delegated = part.parent().filter(|parent| !parent.as_os_str().is_empty()).map(|part| root.join(part));
        [Some(Hierarchy::V2(root)), delegated.map(Hierarchy::V2)].into_iter().flatten()
    });
    v1.chain(v2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_with_both_versions_offers_version_1_first() {
        let mounts = "cgroup /sys/fs/cgroup/cpuset cgroup rw,relatime,cpuset 0 0\n\
                      cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0\n";
        let expected = [Hierarchy::V1("/sys/fs/cgroup/cpu".into()), Hierarchy::V2("/sys/fs/cgroup/unified".into())];
        assert_eq!(hierarchies_of(Controller::Cpu, mounts, "1:cpu:/\n0::/\n"), expected);
    }

    #[test]
    fn a_controller_that_was_handed_down_is_taken_back_and_no_other() {
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs, notes) = (place.path().join("a"), place.path().join("b"), place.path().join("notes"));
        for (group, controllers) in [(&ours, "memory pids"), (&theirs, "cpu memory")] {
            fs::create_dir(group).unwrap();
            fs::write(group.join(CONTROL), controllers).unwrap();
            hand_down(group, Controller::Cpu, &notes).unwrap();
        }
        let control = |group: &Path| fs::read_to_string(group.join(CONTROL)).unwrap();
        assert_eq!((control(&ours).as_str(), control(&theirs).as_str()), ("+cpu", "cpu memory"));
        give_back(&notes);
        assert_eq!((control(&ours).as_str(), control(&theirs).as_str()), ("-cpu", "cpu memory"));
        assert!(!notes.exists());
    }

    #[test]
    fn a_delegated_part_of_version_2_is_offered_after_its_root() {
        let mounts = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/term.scope\n";
        let part = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice";
        let expected = [Hierarchy::V2("/sys/fs/cgroup".into()), Hierarchy::V2(part.into())];
        assert_eq!(hierarchies_of(Controller::Cpu, mounts, own), expected);
    }

    #[test]
    fn a_group_of_version_1_is_made_below_our_own_if_possible() {
        let mounts = "cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n";
        let expected = ["/sys/fs/cgroup/memory/ours", "/sys/fs/cgroup/memory"].map(|root| Hierarchy::V1(root.into()));
        assert_eq!(hierarchies_of(Controller::Memory, mounts, "4:memory:/ours\n0::/\n"), expected);
        assert_eq!(hierarchies_of(Controller::Cpu, mounts, "4:memory:/ours\n0::/\n"), []);
    }
}
