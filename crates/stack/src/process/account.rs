//! The users that servers run as: root may start a stack, but Postgres refuses to run as root, and nginx's workers
//! should not.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    os::unix::{fs::MetadataExt, fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use super::launch::Account;
use crate::{
    HostEnvironment, StackError,
    error::{Context, cannot},
    folder::Folder,
};

/// Locations for data that its user cannot reach in the state folder, in order of preference.
const OUTSIDE: [&str; 2] = ["/var/lib/phase-observation", "/var/tmp/phase-observation"];

/// The user of the distribution's nginx workers: Debian, Red Hat and Alpine, Arch; then `nobody`.
const NGINX_USERS: [&str; 4] = ["www-data", "nginx", "http", "nobody"];

/// The user that Postgres runs as; `None` if that is the lab's user.
pub(super) fn for_postgres(folder: &Folder, host: &HostEnvironment) -> Result<Option<Account>, StackError> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    // Existing data can only be used by its owner.
    if let Ok(data) = fs::metadata(super::postgres::data(folder)) {
        return Ok(Some(by(|account| account.uid == data.uid()).unwrap_or(Account {
            name: data.uid().to_string(),
            uid: data.uid(),
            gid: data.gid(),
        })));
    }
    let candidates = [Some("postgres"), host.sudo_user.as_deref(), Some("nobody")];
    let found =
        candidates.into_iter().flatten().find_map(|name| by(|account| account.name == name && account.uid != 0));
    found.map(Some).ok_or_else(|| {
        StackError::Usage(
            "Postgres refuses to run as root, and this machine has no user `postgres` or `nobody`; \
             run lab as an ordinary user, or create one: `useradd --system postgres`"
                .to_owned(),
        )
    })
}

/// The user of nginx's workers; `None` if that is the lab's user.
pub(super) fn for_nginx() -> Option<Account> {
    let find = || NGINX_USERS.iter().find_map(|name| by(|account| account.name == *name));
    geteuid().is_root().then(find).flatten()
}

/// Makes sure that this user can reach its files: if it cannot enter the state folder (`/root/…`, a private home), they
/// are kept elsewhere, and a link in the folder points to them.
pub(super) fn make_reachable(folder: &Folder, account: &Account) -> Result<(), StackError> {
    if can_enter(account, &folder.services()) {
        return Ok(());
    }
    let name = outside_name(folder.root());
    for parent in OUTSIDE {
        let place = Path::new(parent).join(&name);
        let made = fs::create_dir_all(&place)
            .and_then(|()| fs::set_permissions(parent, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::set_permissions(&place, fs::Permissions::from_mode(0o711)));
        // Only folders of this stack may be opened to other users.
        let is_ours = || fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir() && found.uid() == 0);
        if made.is_ok() && is_ours() && can_enter(account, &place) {
            let link = folder.outside();
            let _ = fs::remove_file(&link);
            return std::os::unix::fs::symlink(&place, &link).context(|| cannot("write", &link));
        }
    }
    Err(StackError::Usage(format!(
        "Postgres runs as the user `{}`, which can enter neither {} nor {}; choose another state folder, \
         for example `--state-dir /var/tmp/stack`",
        account.name,
        folder.root().display(),
        OUTSIDE.join(" nor "),
    )))
}

/// The state folder's path in characters that never need quoting, and a hash that distinguishes similar paths.
fn outside_name(root: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let path: String = root.to_string_lossy().trim_start_matches('/').chars().map(plain).collect();
    let mut hasher = DefaultHasher::new();
    root.hash(&mut hasher);
    format!("{path}-{:08x}", hasher.finish() as u32)
}

/// Tried instead of computed from permission bits: access lists and mount options count too.
fn can_enter(account: &Account, folder: &Path) -> bool {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", r#"cd "$1""#, "sh"]).arg(folder).uid(account.uid).gid(account.gid).current_dir("/");
    let quiet = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Creates a folder that only this user can use.
pub(super) fn own_folder(path: &PathBuf, account: Option<&Account>) -> Result<(), StackError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(0o700)))
        .context(|| cannot("create", path))?;
    give(path, account)
}

/// Changes the owner of a file or folder.
pub(super) fn give(path: &Path, account: Option<&Account>) -> Result<(), StackError> {
    let Some(account) = account else { return Ok(()) };
    std::os::unix::fs::chown(path, Some(account.uid), Some(account.gid)).context(|| cannot("hand over", path))
}

fn by(wanted: impl Fn(&Account) -> bool) -> Option<Account> {
    fs::read_to_string("/etc/passwd").ok()?.lines().filter_map(parse).find(wanted)
}

/// `name:x:uid:gid:…`
fn parse(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let mut numbers = fields.skip(1).map(str::parse);
    Some(Account { name, uid: numbers.next()?.ok()?, gid: numbers.next()?.ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_user_table_is_parsed() {
        let line = "postgres:x:101:104:PostgreSQL administrator,,,:/var/lib/postgresql:/bin/bash";
        assert_eq!(parse(line), Some(Account { name: "postgres".into(), uid: 101, gid: 104 }));
        for line in ["", "#", "a:b", "a:x:one:2:", ":x:0:0:"] {
            assert_eq!(parse(line), None, "{line:?}");
        }
    }
}
