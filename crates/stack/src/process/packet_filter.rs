//! Isolates a server: the kernel silently drops all packets to and from its port on loopback.
//!
//! The rules carry the state folder and the port in their name, so that they can be removed without other information
//! and without touching foreign rules: an nftables table per port, or, where only iptables exists, a comment on each
//! rule.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::programs;
use crate::{HostEnvironment, StackError, folder::Folder};

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
        Filter::Nftables(nft) => run(Command::new(nft).args(["list", "tables"])).map(drop),
        Filter::Iptables(iptables) => run(Command::new(iptables).args(["-w", "-S", "INPUT"])).map(drop),
    }
}

pub(super) fn close(folder: &Folder, port: u16) -> Result<(), StackError> {
    let name = name(folder, port);
    match filter()? {
        Filter::Nftables(nft) => {
            // On loopback every packet passes the input hook once, in both directions.
            let rules = format!(
                "table inet {name} {{\n chain cut {{\n type filter hook input priority -10;\n \
                 iifname lo tcp dport {port} drop;\n iifname lo tcp sport {port} drop;\n }}\n }}\n"
            );
            run(Command::new(nft).arg(rules)).map(drop)
        }
        Filter::Iptables(iptables) => SIDES.iter().try_for_each(|side| {
            let rule = iptables_rule(side, port, &name);
            run(Command::new(&iptables).args(["-w", "-I", "INPUT"]).args(rule)).map(drop)
        }),
    }
}

/// Undoes a cut, even a partial one. True if there was one. `known`: a cut is known to exist, so a failed check is an
/// error.
pub(super) fn open(folder: &Folder, port: u16, known: bool) -> Result<bool, StackError> {
    match filter() {
        Ok(filter) => filter.open(&[name(folder, port)]),
        Err(_) if !known => Ok(false),
        Err(error) => Err(error),
    }
}

/// Undoes every cut of this state folder, with or without a record. A user that may not list rules cannot have created
/// any.
pub(super) fn open_all(folder: &Folder) -> Result<(), StackError> {
    let Ok(filter) = filter() else { return Ok(()) };
    let names = filter.names(&prefix(folder))?;
    if names.is_empty() { Ok(()) } else { filter.open(&names).map(drop) }
}

impl Filter {
    /// The cuts whose names have this prefix.
    fn names(&self, prefix: &str) -> Result<Vec<String>, StackError> {
        let listed = match self {
            // Without the kernel's support there is nothing to list.
            Self::Nftables(nft) => run(Command::new(nft).args(["list", "tables"])).unwrap_or_default(),
            Self::Iptables(iptables) => run(Command::new(iptables).args(["-w", "-S", "INPUT"])).unwrap_or_default(),
        };
        let words = listed.split_whitespace().map(|word| word.trim_matches('"'));
        let mut names: Vec<String> = words.filter(|word| word.starts_with(prefix)).map(str::to_owned).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// True if any of them existed.
    fn open(&self, names: &[String]) -> Result<bool, StackError> {
        let mut found = false;
        for name in names {
            match self {
                Self::Nftables(nft) => {
                    if run(Command::new(nft).args(["list", "table", "inet", name])).is_ok() {
                        run(Command::new(nft).args(["delete", "table", "inet", name]))?;
                        found = true;
                    }
                }
                Self::Iptables(iptables) => {
                    let port = name.rsplit('_').next().and_then(|port| port.parse().ok()).unwrap_or_default();
                    for side in SIDES {
                        let rule = iptables_rule(side, port, name);
                        if run(Command::new(iptables).args(["-w", "-C", "INPUT"]).args(&rule)).is_ok() {
                            run(Command::new(iptables).args(["-w", "-D", "INPUT"]).args(&rule))?;
                            found = true;
                        }
                    }
                }
            }
        }
        Ok(found)
    }
}

const SIDES: [&str; 2] = ["--dport", "--sport"];

fn iptables_rule(side: &str, port: u16, name: &str) -> [String; 12] {
    let port = port.to_string();
    ["-i", "lo", "-p", "tcp", side, &port, "-m", "comment", "--comment", name, "-j", "DROP"].map(str::to_owned)
}

fn prefix(folder: &Folder) -> String {
    format!("phase_observation_{}_", folder.tag())
}

fn name(folder: &Folder, port: u16) -> String {
    format!("{}{port}", prefix(folder))
}

/// Returns its output.
fn run(command: &mut Command) -> Result<String, StackError> {
    let text = format!("{command:?}").replace('"', "");
    let failed = |detail: String| StackError::Command { command: text.clone(), detail };
    let output = command.stdin(Stdio::null()).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if said.contains("not permitted") || said.contains("ermission denied") {
        return Err(not_permitted(&format!("the kernel refused `{text}` ({said})")));
    }
    Err(failed(said))
}

fn not_permitted(what: &str) -> StackError {
    StackError::NotPermitted {
        what: format!("isolating a server: {what}"),
        remedy: "Use sudo with `nft` or `iptables` installed (CAP_NET_ADMIN); or `lab fault pause`, which also leaves \
                 clients without an answer"
            .to_owned(),
    }
}
