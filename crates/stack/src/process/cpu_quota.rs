//! A CPU quota for a replica through the kernel's control groups (version 1 or 2), if this user may create them.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{StackError, Target, folder::Folder};

/// The period of a quota; the kernel's default.
const PERIOD_US: u32 = 100_000;

/// Where new groups can be created, and which version they have.
#[derive(Debug, Clone, PartialEq)]
enum Hierarchy {
    V1(PathBuf),
    V2(PathBuf),
}

/// Checks before the start whether quotas are possible here.
pub(super) fn check_machine(folder: &Folder) -> Result<(), StackError> {
    home(folder).map(drop)
}

/// Creates the replica's group and returns the file through which a process joins it.
pub(super) fn prepare(folder: &Folder, name: Target, cpus: f64) -> Result<PathBuf, StackError> {
    let quota = (cpus * f64::from(PERIOD_US)).round() as u64;
    let home = home(folder)?;
    let (Hierarchy::V1(parent) | Hierarchy::V2(parent)) = &home;
    let group = parent.join(name.to_string());
    let make = || -> io::Result<()> {
        fs::create_dir_all(&group)?;
        match home {
            Hierarchy::V1(_) => {
                fs::write(group.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(group.join("cpu.cfs_quota_us"), quota.to_string())
            }
            Hierarchy::V2(_) => fs::write(group.join("cpu.max"), format!("{quota} {PERIOD_US}")),
        }
    };
    make().map_err(|error| refused(&group, &error))?;
    Ok(group.join("cgroup.procs"))
}

/// Removes this stack's groups, which are empty at this point.
pub(super) fn remove(folder: &Folder) {
    for hierarchy in hierarchies() {
        let (Hierarchy::V1(root) | Hierarchy::V2(root)) = hierarchy;
        let home = root.join(group_name(folder));
        for group in fs::read_dir(&home).into_iter().flatten().flatten() {
            // Plain files there belong to the kernel and cannot be removed; folders are groups of this stack.
            let _ = fs::remove_dir(group.path());
        }
        let _ = fs::remove_dir(&home);
    }
    give_back(&folder.cpu_control());
}

/// The folder of this stack's groups.
fn home(folder: &Folder) -> Result<Hierarchy, StackError> {
    let mut last = None;
    for hierarchy in hierarchies() {
        let (Hierarchy::V1(root) | Hierarchy::V2(root)) = &hierarchy;
        let home = root.join(group_name(folder));
        let made = fs::create_dir_all(&home).and_then(|()| match &hierarchy {
            Hierarchy::V1(_) => Ok(()),
            // Groups of version 2 have the CPU controller only if each parent enables it for its children.
            Hierarchy::V2(root) => [root, &home].iter().try_for_each(|parent| hand_down(parent, &folder.cpu_control())),
        });
        match (made, hierarchy) {
            (Ok(()), Hierarchy::V1(_)) => return Ok(Hierarchy::V1(home)),
            (Ok(()), Hierarchy::V2(_)) => return Ok(Hierarchy::V2(home)),
            (Err(error), _) => {
                let _ = fs::remove_dir(&home);
                last = Some(refused(&home, &error));
            }
        }
    }
    Err(last.unwrap_or_else(|| StackError::NotPermitted {
        what: "this machine has no control groups for CPU time".to_owned(),
        remedy: "Mount them, or omit --cpus".to_owned(),
    }))
}

/// Enables the CPU controller for the children of `parent`. Recorded in `notes` first, so that it can be undone.
fn hand_down(parent: &Path, notes: &Path) -> io::Result<()> {
    let file = parent.join(CONTROL);
    if fs::read_to_string(&file)?.split_whitespace().any(|controller| controller == "cpu") {
        return Ok(());
    }
    let mut known = fs::read_to_string(notes).unwrap_or_default();
    known.push_str(&format!("{}\n", parent.display()));
    fs::write(notes, known)?;
    fs::write(file, "+cpu")
}

/// Disables the CPU controller where it was enabled, the innermost group first. A group that other programs use by now
/// keeps it: the kernel refuses the change, as it should.
fn give_back(notes: &Path) {
    let known = fs::read_to_string(notes).unwrap_or_default();
    for parent in known.lines().rev() {
        let _ = fs::write(Path::new(parent).join(CONTROL), "-cpu");
    }
    let _ = fs::remove_file(notes);
}

const CONTROL: &str = "cgroup.subtree_control";

fn refused(group: &Path, error: &io::Error) -> StackError {
    StackError::NotPermitted {
        what: format!("cannot create the control group {} ({error})", group.display()),
        remedy:
            "A CPU quota needs root, or a user to whom the system delegates CPU control: run it with sudo, or leave \
                 --cpus out"
                .to_owned(),
    }
}

fn group_name(folder: &Folder) -> String {
    format!("phase-observation{}", folder.root().to_string_lossy().replace('/', "-"))
}

/// Version 1 first: where both are mounted, the CPU controller is usually there.
fn hierarchies() -> Vec<Hierarchy> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    hierarchies_of(&mounts, &own)
}

fn hierarchies_of(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mounts = || mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).filter(|fields| fields.len() > 3);
    let v1 = mounts()
        .filter(|fields| fields[2] == "cgroup" && fields[3].split(',').any(|option| option == "cpu"))
        .map(|fields| Hierarchy::V1(fields[1].into()));
    let v2 = mounts().filter(|fields| fields[2] == "cgroup2").flat_map(|fields| {
        let root = PathBuf::from(fields[1]);
        // An ordinary user owns only a subtree: the group above the one that this process is in.
        let path = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
        let delegated =
            Path::new(path).parent().filter(|parent| !parent.as_os_str().is_empty()).map(|part| root.join(part));
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
        assert_eq!(hierarchies_of(mounts, "1:cpu:/\n0::/\n"), expected);
    }

    #[test]
    fn only_a_controller_that_was_enabled_is_disabled() {
        let place = tempfile::tempdir().unwrap();
        let (ours, theirs, notes) = (place.path().join("a"), place.path().join("b"), place.path().join("notes"));
        for (group, controllers) in [(&ours, "memory pids"), (&theirs, "cpu memory")] {
            fs::create_dir(group).unwrap();
            fs::write(group.join(CONTROL), controllers).unwrap();
            hand_down(group, &notes).unwrap();
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
        assert_eq!(hierarchies_of(mounts, own), [Hierarchy::V2("/sys/fs/cgroup".into()), Hierarchy::V2(part.into())]);
    }
}
