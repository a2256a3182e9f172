//! A CPU quota for a replica, by the kernel's control groups.

use std::{fs, io, path::PathBuf};

use super::control_group::{self, Controller, Hierarchy, Missing};
use crate::{StackError, Target, folder::Folder};

/// The time over which the kernel counts a quota, at least and at most (its default). In a short one a replica with little
/// CPU time is a slow machine; in a long one it is a fast machine that stands still for most of each tenth of a second.
const PERIOD_US: (f64, f64) = (10_000.0, 100_000.0);
/// The smallest quota that the kernel accepts.
const LEAST_QUOTA_US: f64 = 1_000.0;

/// Whether quotas can be given here, before anything is started.
pub(super) fn check_machine(folder: &Folder) -> Result<(), StackError> {
    home(folder).map(drop)
}

/// Creates the replica's group and returns the file through which a process joins it.
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
    make().map_err(|error| refused(Missing::Refused(group.clone(), error)))?;
    Ok(group.join(control_group::MEMBERS))
}

fn home(folder: &Folder) -> Result<Hierarchy, StackError> {
    control_group::home(folder, Controller::Cpu).map_err(refused)
}

fn refused(missing: Missing) -> StackError {
    let (what, remedy) = match missing {
        Missing::Controller => {
            ("this machine has no control groups for CPU time".to_owned(), "Mount them, or omit --cpus")
        }
        Missing::Refused(group, error) => (
            format!("the control group {} cannot be made ({error})", group.display()),
            "A CPU quota needs root or delegated control of the CPU controller: run it with sudo, or omit --cpus",
        ),
    };
    StackError::NotPermitted { what, remedy: remedy.to_owned() }
}
