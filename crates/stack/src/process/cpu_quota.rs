//! A CPU quota for a replica, by the kernel's control groups.

use std::{fs, io, path::PathBuf};

use super::control_group::{self, Controller, Hierarchy, Missing};
use crate::{StackError, Target, folder::Folder};

/// The period of a quota; the kernel's default.
const PERIOD_US: u32 = 100_000;

/// Whether quotas can be given here, before anything is started.
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
    make().map_err(|error| refused(Missing::Refused(group.clone(), error)))?;
    Ok(group.join(control_group::MEMBERS))
}

fn home(folder: &Folder) -> Result<Hierarchy, StackError> {
    control_group::home(folder, Controller::Cpu).map_err(refused)
}

fn refused(missing: Missing) -> StackError {
    let (what, remedy) = match missing {
        Missing::Controller => {
            ("this machine has no control groups for CPU time".to_owned(), "Mount them, or leave --cpus out")
        }
        Missing::Refused(group, error) => (
            format!("the control group {} cannot be made ({error})", group.display()),
            "A CPU quota needs root, or a user to whom the system delegates CPU control: run it with sudo, or leave \
             --cpus out",
        ),
    };
    StackError::NotPermitted { what, remedy: remedy.to_owned() }
}
