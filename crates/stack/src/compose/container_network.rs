//! This machine's `nft` in the network of a container.

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::container::Container;
use crate::StackError;

/// Whether that is possible here. `what` is what it is wanted for.
pub(super) fn check(what: &str) -> Result<(), StackError> {
    if !geteuid().is_root() {
        return Err(not_permitted(what, "only root can enter a container's network"));
    }
    run(Command::new("nsenter").arg("--version"), what).map(drop)?;
    run(Command::new("nft").arg("--version"), what).map(drop)
}

/// `nft` in the network of the container.
pub(super) fn inside(container: &Container, what: &str) -> Result<Command, StackError> {
    let pid = container.pid();
    // The engine may be another machine's: then the number means another process here.
    let is_here = fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&container.id));
    if !is_here {
        return Err(not_permitted(what, "the engine is not this machine's"));
    }
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "nft"]);
    Ok(command)
}

pub(super) fn run(command: &mut Command, what: &str) -> Result<String, StackError> {
    let text = format!("{:?}", command.get_program()).replace('"', "");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(StackError::Command {
            command: text,
            detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(_) => Err(not_permitted(what, &format!("{text} is not installed"))),
    }
}

fn not_permitted(what: &str, why: &str) -> StackError {
    StackError::NotPermitted {
        what: format!("{what}: {why}"),
        remedy: "Use sudo on the engine's own machine, with `nft` and `nsenter` installed; or `lab fault pause`, which also \
                 leaves clients without an answer"
            .to_owned(),
    }
}
