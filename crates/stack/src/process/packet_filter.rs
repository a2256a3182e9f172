//! Cutting a server off: the kernel drops all packets to and from its port on loopback, without a word to either side.
//!
//! The rules carry the port in a name of their own, so that removing them cannot touch anyone else's: an nftables table
//! per port, or, where only iptables exists, a comment at each rule.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::programs;
use crate::{HostEnvironment, StackError};

#[derive(Debug)]
enum Filter {
    Nftables(PathBuf),
    Iptables(PathBuf),
}

/// The filter of this machine, if this user may change it.
fn filter() -> Result<Filter, StackError> {
    if !geteuid().is_root() {
        return Err(not_permitted("only root can change packet filters"));
    }
    let host = HostEnvironment::default();
    let nft = || programs::find(&host, "nft").map(Filter::Nftables);
    let iptables = || programs::find(&host, "iptables").map(Filter::Iptables);
    nft().or_else(iptables).ok_or_else(|| not_permitted("neither nft nor iptables is installed"))
}

/// Whether a cut is possible here.
pub(super) fn check() -> Result<(), StackError> {
    match filter()? {
        Filter::Nftables(nft) => run(Command::new(nft).args(["list", "tables"])),
        Filter::Iptables(iptables) => run(Command::new(iptables).args(["-w", "-S", "INPUT"])),
    }
}

pub(super) fn close(port: u16) -> Result<(), StackError> {
    match filter()? {
        Filter::Nftables(nft) => {
            let table = name(port);
            // On loopback every packet comes in once, those to the server and those from it.
            let rules = format!(
                "table inet {table} {{\n chain cut {{\n type filter hook input priority -10;\n \
                 iifname lo tcp dport {port} drop;\n iifname lo tcp sport {port} drop;\n }}\n }}\n"
            );
            run(Command::new(nft).arg(rules))
        }
        Filter::Iptables(iptables) => SIDES.iter().try_for_each(|side| {
            run(Command::new(&iptables).args(["-w", "-I", "INPUT"]).args(iptables_rule(side, port)))
        }),
    }
}

/// Undoes a cut, also one that was made only in part.
pub(super) fn open(port: u16) -> Result<(), StackError> {
    match filter()? {
        Filter::Nftables(nft) => {
            let is_there = run(Command::new(&nft).args(["list", "table", "inet", &name(port)])).is_ok();
            if is_there { run(Command::new(nft).args(["delete", "table", "inet", &name(port)])) } else { Ok(()) }
        }
        Filter::Iptables(iptables) => SIDES.iter().try_for_each(|side| {
            let rule = iptables_rule(side, port);
            let is_there = run(Command::new(&iptables).args(["-w", "-C", "INPUT"]).args(&rule)).is_ok();
            if is_there { run(Command::new(&iptables).args(["-w", "-D", "INPUT"]).args(&rule)) } else { Ok(()) }
        }),
    }
}

const SIDES: [&str; 2] = ["--dport", "--sport"];

fn iptables_rule(side: &str, port: u16) -> [String; 12] {
    let (port, name) = (port.to_string(), name(port));
    ["-i", "lo", "-p", "tcp", side, &port, "-m", "comment", "--comment", &name, "-j", "DROP"].map(str::to_owned)
}

fn name(port: u16) -> String {
    format!("phase_observation_port_{port}")
}

fn run(command: &mut Command) -> Result<(), StackError> {
    let text = format!("{command:?}").replace('"', "");
    let failed = |detail: String| StackError::Command { command: text.clone(), detail };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("not permitted") || said.contains("ermission denied") {
        return Err(not_permitted(&format!("the kernel refused `{text}` ({said})")));
    }
    Err(failed(said))
}

fn not_permitted(what: &str) -> StackError {
    StackError::NotPermitted {
        what: format!("cutting a server off: {what}"),
        remedy: "Use sudo with `nft` or `iptables` installed (CAP_NET_ADMIN); or `lab fault pause`, which also leaves \
                 clients without an answer"
            .to_owned(),
    }
}
