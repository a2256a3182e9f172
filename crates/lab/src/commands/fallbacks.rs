//! `lab fallbacks`: run the matrix, print it, write its page.

use std::{fs, path::Path};

use stack::{DriverKind, Operation, StackError, UpOptions};

use crate::{
    Console, Settings,
    fallbacks::{self, Plan},
};

pub(super) fn run(
    out: Option<&Path>,
    allowance: f64,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    // Beside the stack that may be running, and always the same: the next run clears what a crash has left.
    let name = folder.file_name().map(|name| format!("{}-fallbacks", name.display()));
    let folder = folder.with_file_name(name.unwrap_or_else(|| "fallbacks".to_owned()));
    let up = UpOptions {
        driver: DriverKind::Process,
        folder: folder.clone(),
        project: settings.project()?,
        host: settings.host.clone(),
        replicas: 3,
        phase: None,
        env: Vec::new(),
        port: Some(0),
        cpus: None,
        api: settings.api.clone(),
        install: true,
    };
    let rows = fallbacks::run(&Plan::new(up, folder, allowance), operation)?;
    let page = fallbacks::render(&rows);
    match out {
        None => console.print(&page),
        Some(file) => fs::write(file, &page)
            .map_err(|source| StackError::Io { what: format!("cannot write {}", file.display()), source })?,
    }
    let deviated = rows.iter().filter(|row| !row.deviations.is_empty()).count();
    if deviated > 0 {
        return Err(StackError::Conflict(format!("{deviated} of {} rows deviated", rows.len())));
    }
    let invalid = rows.iter().filter(|row| row.impossible.is_some()).count();
    if invalid > 0 {
        return Err(StackError::NotPermitted {
            what: format!("{invalid} of {} rows could not be brought about, so they are not held", rows.len()),
            remedy: "Run it as root, with `nft` or `iptables` installed".to_owned(),
        });
    }
    Ok(())
}
