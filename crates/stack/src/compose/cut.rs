//! Isolates a container: a packet filter inside its network namespace drops all packets except those on loopback, as
//! the process driver does for a port. (`docker network disconnect` removes the container's name and address: clients
//! are refused at once instead of being left without an answer.)

use std::{
    fs,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::container::Container;
use crate::{StackError, State};

const TABLE: &str = "phase_observation_cut";

const RULES: &str = "table inet phase_observation_cut {\n chain in {\n type filter hook input priority -10;\n \
                     iifname != lo drop;\n }\n chain out {\n type filter hook output priority -10;\n \
                     oifname != lo drop;\n }\n }\n";

/// Whether a cut is possible here.
pub(super) fn check() -> Result<(), StackError> {
    if !geteuid().is_root() {
        return Err(not_permitted("only root can enter a container's network namespace"));
    }
    run(Command::new("nsenter").arg("--version")).map(drop)?;
    run(Command::new("nft").arg("--version")).map(drop)
}

pub(super) fn close(container: &Container) -> Result<(), StackError> {
    check()?;
    run(inside(container)?.arg(RULES)).map(drop)
}

/// True if the container was isolated. `known`: a cut is known to exist, so a failed check is an error.
pub(super) fn open(container: &Container, known: bool) -> Result<bool, StackError> {
    if container.state() == State::Stopped {
        // Its network namespace ended with it.
        return Ok(false);
    }
    match check().and_then(|()| inside(container)) {
        Err(error) if known => Err(error),
        Err(_) => Ok(false),
        Ok(mut list) => {
            let is_there = run(list.args(["list", "table", "inet", TABLE])).is_ok();
            if is_there {
                run(inside(container)?.args(["delete", "table", "inet", TABLE]))?;
            }
            Ok(is_there)
        }
    }
}

/// `nft` of this machine in the network namespace of the container.
fn inside(container: &Container) -> Result<Command, StackError> {
    let pid = container.pid();
    // The engine may run on another machine: then the pid belongs to another process here.
    let is_here = fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&container.id));
    if !is_here {
        return Err(not_permitted("the engine runs on another machine"));
    }
    let mut command = Command::new("nsenter");
    command.args(["--target", &pid.to_string(), "--net", "nft"]);
    Ok(command)
}

fn run(command: &mut Command) -> Result<String, StackError> {
    let text = format!("{:?}", command.get_program()).replace('"', "");
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => Err(StackError::Command {
            command: text,
            detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        }),
        Err(_) => Err(not_permitted(&format!("{text} is not installed"))),
    }
}

fn not_permitted(what: &str) -> StackError {
    StackError::NotPermitted {
        what: format!("isolating a container: {what}"),
        remedy: "Use sudo on the engine's own machine, with `nft` and `nsenter` installed; or `lab fault pause`, which also \
                 leaves clients without an answer"
            .to_owned(),
    }
}
