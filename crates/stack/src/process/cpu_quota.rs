//! A CPU quota for a replica, by the kernel's control groups (version 1 or 2), where this user may make some.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{StackError, Target, folder::Folder};

/// The time over which the kernel counts a quota, at least and at most (its default). In a short one a replica with little
/// CPU time is a slow machine; in a long one it is a fast machine that stands still for most of each tenth of a second.
const PERIOD_US: (f64, f64) = (10_000.0, 100_000.0);
/// The smallest quota that the kernel accepts.
const LEAST_QUOTA_US: f64 = 1_000.0;

/// Where new groups can be made, and in which language.
#[derive(Debug, Clone, PartialEq)]
enum Hierarchy {
    V1(PathBuf),
    V2(PathBuf),
}

/// Whether quotas can be given here, before anything is started.
pub(super) fn check_machine(folder: &Folder) -> Result<(), StackError> {
    home(folder).map(drop)
}

/// Makes the replica's group and returns the file by which a process joins it.
pub(super) fn prepare(folder: &Folder, name: Target, cpus: f64) -> Result<PathBuf, StackError> {
    let period = (LEAST_QUOTA_US / cpus).ceil().clamp(PERIOD_US.0, PERIOD_US.1);
    let (quota, period) = ((cpus * period).round().max(LEAST_QUOTA_US) as u64, period as u64);
    let home = home(folder)?;
    let (Hierarchy::V1(parent) | Hierarchy::V2(parent)) = &home;
    let group = parent.join(name.to_string());
    let make = || -> io::Result<()> {
        fs::create_dir_all(&group)?;
        match home {
            Hierarchy::V1(_) => {
                fs::write(group.join("cpu.cfs_period_us"), period.to_string())?;
                fs::write(group.join("cpu.cfs_quota_us"), quota.to_string())
            }
            Hierarchy::V2(_) => fs::write(group.join("cpu.max"), format!("{quota} {period}")),
        }
    };
    make().map_err(|error| refused(&group, &error))?;
    Ok(group.join("cgroup.procs"))
}

/// Removes this stack's groups, which are empty by now.
pub(super) fn remove(folder: &Folder) {
    for hierarchy in hierarchies() {
        let (Hierarchy::V1(root) | Hierarchy::V2(root)) = hierarchy;
        let home = root.join(group_name(folder));
        for group in fs::read_dir(&home).into_iter().flatten().flatten() {
            // Plain files in there are the kernel's and cannot be removed; folders are ours.
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
            // Groups of version 2 have the CPU controller only if each parent hands it down.
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
        remedy: "Mount them, or leave --cpus out".to_owned(),
    }))
}

/// Noted in `notes` before it is done, so that it is put back.
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

/// Takes the CPU controller back from where it was handed down, the innermost group first. A group that others use by now
/// keeps it: the kernel refuses that, and rightly.
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
        what: format!("the control group {} cannot be made ({error})", group.display()),
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
        // An ordinary user owns no more than a part: the group above the one that this process is in.
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
    fn a_controller_that_was_handed_down_is_taken_back_and_no_other() {
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
