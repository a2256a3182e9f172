//! A memory limit for a replica that runs, by the kernel's control groups: beyond it the kernel ends the replica.

use std::{fs, io, path::Path};

use super::control_group::{self, Controller, Hierarchy};
use crate::{Target, folder::Folder, supervise::table::Identity};

/// Moves the replica into a group that ends it when it uses more than `bytes`. False where no group can be made.
pub(super) fn set(folder: &Folder, name: Target, process: Identity, bytes: u64) -> bool {
    let Ok(home) = control_group::home(folder, Controller::Memory) else { return false };
    let (Hierarchy::V1(parent) | Hierarchy::V2(parent)) = &home;
    let group = parent.join(name.to_string());
    let resident = process.resident().unwrap_or_default();
    let make = || -> io::Result<()> {
        fs::create_dir_all(&group)?;
        // What it uses already stays on the account of the group that it was in.
        let more = bytes.saturating_sub(resident).to_string();
        match home {
            Hierarchy::V1(_) => fs::write(group.join("memory.limit_in_bytes"), more)?,
            Hierarchy::V2(_) => fs::write(group.join("memory.max"), more)?,
        }
        without_swap(&group);
        fs::write(group.join(control_group::MEMBERS), process.pid.to_string())
    };
    make().is_ok()
}

/// Only where the kernel counts swap.
fn without_swap(group: &Path) {
    let _ = fs::write(group.join("memory.swap.max"), "0");
    let _ = fs::write(group.join("memory.swappiness"), "0");
}

/// The process stays in its group, which has no bound any more.
pub(super) fn lift(folder: &Folder, name: Target) {
    let Ok(home) = control_group::home(folder, Controller::Memory) else { return };
    let (Hierarchy::V1(parent) | Hierarchy::V2(parent)) = &home;
    let group = parent.join(name.to_string());
    let _ = match home {
        Hierarchy::V1(_) => fs::write(group.join("memory.limit_in_bytes"), "-1"),
        Hierarchy::V2(_) => fs::write(group.join("memory.max"), "max"),
    };
}
