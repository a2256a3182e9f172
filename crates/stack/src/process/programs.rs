//! The servers' programs: where distributions install them, and what to do if they are missing.

use std::{
    cmp::Reverse,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};

use crate::{HostEnvironment, StackError};

/// Not in every user's `PATH`, but servers and firewalls are installed there.
const USUAL_FOLDERS: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Folders that hold one folder per version of Postgres: Debian, Red Hat, Alpine.
const POSTGRES_FOLDERS: [(&str, &str); 3] = [("/usr/lib/postgresql", "bin"), ("/usr", "bin"), ("/usr/libexec", "")];

/// The oldest Postgres that is still maintained and tested here. For Redis and nginx any version of a distribution is
/// accepted.
const OLDEST_POSTGRES: u32 = 14;

/// The programs that a stack was started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Programs {
    /// The folder that holds `postgres` and `initdb`.
    pub postgres: PathBuf,
    pub redis: PathBuf,
    pub nginx: PathBuf,
    pub api: PathBuf,
}

/// A server that a package provides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Package {
    Postgres,
    Redis,
    Nginx,
}

/// Locates all programs. The error lists what is missing.
pub(super) fn locate(host: &HostEnvironment, api: &Path, data: Option<u32>) -> Result<Programs, Vec<Package>> {
    let postgres = postgres(host, data);
    let redis = find(host, "redis-server").or_else(|| find(host, "valkey-server"));
    let nginx = find(host, "nginx");
    match (postgres, redis, nginx) {
        (Some(postgres), Some(redis), Some(nginx)) => Ok(Programs { postgres, redis, nginx, api: api.to_owned() }),
        (postgres, redis, nginx) => {
            let missing = [
                (postgres.is_none(), Package::Postgres),
                (redis.is_none(), Package::Redis),
                (nginx.is_none(), Package::Nginx),
            ];
            Err(missing.into_iter().filter_map(|(is_missing, package)| is_missing.then_some(package)).collect())
        }
    }
}

/// Checks that the API's program is executable before anything else is started.
pub(super) fn check_api(api: &Path) -> Result<(), StackError> {
    if is_program(api) {
        return Ok(());
    }
    let what = if api.exists() { "is not executable" } else { "does not exist" };
    Err(StackError::MissingPrograms {
        missing: format!("the API's program ({} {what})", api.display()),
        remedy: "Build it with `cargo build -p api` (with --release for `target/release`), or give it with --api-bin."
            .to_owned(),
    })
}

/// The program of this name in the caller's search path or the usual folders.
pub(super) fn find(host: &HostEnvironment, name: &str) -> Option<PathBuf> {
    folders(host).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn folders(host: &HostEnvironment) -> impl Iterator<Item = PathBuf> {
    std::env::split_paths(&host.search_path).chain(USUAL_FOLDERS.map(PathBuf::from)).filter(|path| path.is_absolute())
}

/// The newest Postgres, or the one whose version the existing data needs.
fn postgres(host: &HostEnvironment, data: Option<u32>) -> Option<PathBuf> {
    let versioned = POSTGRES_FOLDERS.iter().flat_map(|(parent, inner)| {
        fs::read_dir(parent).into_iter().flatten().flatten().map(move |entry| entry.path().join(inner))
    });
    versioned
        .chain(folders(host))
        .filter(|folder| is_program(&folder.join("postgres")) && is_program(&folder.join("initdb")))
        .filter_map(|folder| Some((postgres_version(&folder)?, folder)))
        .filter(|(version, _)| data.map_or(*version >= OLDEST_POSTGRES, |data| *version == data))
        // The first of the newest: the distribution's own folder before links to it.
        .min_by_key(|(version, _)| Reverse(*version))
        .map(|(_, folder)| folder)
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` or `… 18beta1`.
fn postgres_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let number: String = text.rsplit_once("(PostgreSQL) ")?.1.chars().take_while(char::is_ascii_digit).collect();
    number.parse().ok()
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_callers_search_path_comes_first() {
        let place = tempfile::tempdir().unwrap();
        let program = place.path().join("sh");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        let host = HostEnvironment { search_path: place.path().into(), ..HostEnvironment::default() };
        assert_ne!(find(&host, "sh").unwrap(), program, "a file that cannot be executed is no program");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find(&host, "sh").unwrap(), program);
    }

    #[test]
    fn a_missing_api_names_the_command_that_builds_it() {
        let text = check_api(Path::new("/nowhere/api")).unwrap_err().to_string();
        assert!(text.contains("/nowhere/api") && text.contains("cargo build -p api"), "{text}");
    }
}
