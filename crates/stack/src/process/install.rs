//! Installs missing servers through the machine's package manager, or prints the exact command.

use std::{
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, geteuid, kill_process_group};

use super::{
    launch,
    programs::{self, Package, Programs},
};
use crate::{
    HostEnvironment, Operation, StackError,
    error::{Context, cannot},
    folder::Folder,
};

/// Enough for a slow mirror, or for another package manager that runs first.
const LONGEST_INSTALL: Duration = Duration::from_secs(900);

/// Installs without starting anything: Debian starts a server as soon as it is installed, unless this policy forbids
/// it. An existing policy belongs to the machine and stays. The policy written here loses its effect when this script
/// ends, however it ends.
const APT: &str = r#"
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\n# No server starts by itself while `lab up` (process %s) installs; then this has no effect.\nkill -0 %s 2>/dev/null && exit 101\nexit 0\n' $$ $$ >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
install() { apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"; }
install "$@" || { apt-get update && install "$@"; }
"#;

/// A distribution family: its package manager and its names for Postgres, Redis and nginx.
const MANAGERS: [(&str, &str, [&str; 3]); 5] = [
    ("apt-get", "apt-get install --no-install-recommends", ["postgresql", "redis-server", "nginx"]),
    ("dnf", "dnf install", ["postgresql-server", "redis", "nginx"]),
    ("pacman", "pacman -S", ["postgresql", "redis", "nginx"]),
    ("apk", "apk add", ["postgresql", "redis", "nginx"]),
    ("brew", "brew install", ["postgresql", "redis", "nginx"]),
];

/// Locates all programs, and installs them first if that is needed, allowed and possible.
pub(super) fn ensure(
    folder: &Folder,
    host: &HostEnvironment,
    api: &Path,
    data: Option<u32>,
    allowed: bool,
    operation: &Operation<'_>,
) -> Result<Programs, StackError> {
    let missing = match programs::locate(host, api, data) {
        Ok(programs) => return Ok(programs),
        Err(missing) => missing,
    };
    if let (Some(version), true) = (data, missing.contains(&Package::Postgres)) {
        return Err(StackError::MissingPrograms {
            missing: format!("PostgreSQL {version}, which made the data in {}", folder.postgres().display()),
            remedy: "Install that version, or delete the data with `lab down --purge`.".to_owned(),
        });
    }
    let can_install = allowed && programs::find(host, "apt-get").is_some() && (geteuid().is_root() || sudo_is_silent());
    if can_install {
        apt(folder, &missing, operation)?;
        if let Ok(programs) = programs::locate(host, api, data) {
            return Ok(programs);
        }
    }
    Err(StackError::MissingPrograms { missing: names(&missing).join(", "), remedy: remedy(host, &missing) })
}

fn apt(folder: &Folder, missing: &[Package], operation: &Operation<'_>) -> Result<(), StackError> {
    let names = names(missing);
    operation.progress.begin(&format!("installing {} with apt-get", names.join(", ")));
    let log = folder.log("install");
    let output = OpenOptions::new().append(true).create(true).open(&log).context(|| cannot("open", &log))?;
    let errors = output.try_clone().context(|| cannot("open", &log))?;

    let mut command = if geteuid().is_root() { Command::new("/bin/sh") } else { Command::new("sudo") };
    if !geteuid().is_root() {
        command.args(["-n", "/bin/sh"]);
    }
    // In its own process group: Ctrl-C must not leave half-installed packages.
    command.args(["-c", APT, "install"]).args(&names).process_group(0);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .context(|| "cannot start the installation".to_owned())?;

    let mut told = false;
    let mut ended = None;
    operation.interrupt.wait_while_cleaning(LONGEST_INSTALL, || {
        if operation.interrupt.count() == 1 && !told {
            told = true;
            operation
                .progress
                .note("waiting for apt-get, to leave no half-installed packages; press Ctrl-C again to stop it");
        }
        ended = child.try_wait().ok().flatten();
        ended.is_some()
    });
    let Some(status) = ended else {
        if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
        operation.interrupt.check()?;
        return Err(StackError::Command { command: "apt-get install".into(), detail: "timed out".into() });
    };
    operation.interrupt.check()?;
    if !status.success() {
        let detail = format!("{status}\n{}\n  whole log: {}", launch::tail(&log), log.display());
        return Err(StackError::Command { command: format!("apt-get install {}", names.join(" ")), detail });
    }
    operation.progress.end("installed, not started");
    Ok(())
}

/// Whether `sudo` works without a password prompt.
fn sudo_is_silent() -> bool {
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    sudo.status().is_ok_and(|status| status.success())
}

fn names(packages: &[Package]) -> Vec<&'static str> {
    packages.iter().map(|package| MANAGERS[0].2[*package as usize]).collect()
}

fn remedy(host: &HostEnvironment, missing: &[Package]) -> String {
    let Some((_, command, names)) = MANAGERS.iter().find(|(manager, ..)| programs::find(host, manager).is_some())
    else {
        return "Install PostgreSQL 14 or newer, Redis (or Valkey) and nginx, then try again.".to_owned();
    };
    let wanted: Vec<&str> = missing.iter().map(|package| names[*package as usize]).collect();
    let sudo = if geteuid().is_root() || *command == "brew install" { "" } else { "sudo " };
    format!("Install with `{sudo}{command} {}`, then try again.", wanted.join(" "))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_remedy_is_the_machines_own_command() {
        let place = tempfile::tempdir().unwrap();
        let dnf = place.path().join("dnf");
        fs::write(&dnf, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&dnf, fs::Permissions::from_mode(0o755)).unwrap();
        let host = HostEnvironment { search_path: place.path().into(), ..HostEnvironment::default() };
        let text = remedy(&host, &[Package::Postgres, Package::Nginx]);
        // On Debian apt-get is found in the usual folders, too, and comes first.
        let expected =
            ["dnf install postgresql-server nginx", "apt-get install --no-install-recommends postgresql nginx"];
        assert!(expected.iter().any(|command| text.contains(command)), "{text}");
    }
}
