//! Redis: only a cache. It stores nothing on disk and evicts the oldest entries when its memory is full.

use std::{fs, path::PathBuf, process::Command};

use super::{ProcessRecord, launch::Launch, random};
use crate::{
    StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// A rule that only Redis 7.2 and newer knows. Redis refuses to start if a rule names an unknown command.
const RULE_SINCE_7_2: &str = "+client|setinfo";

/// A user of Redis. A connection without a user name and a password has no permissions.
#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    /// Used by the replicas; `deploy/redis/app.acl` lists its permissions.
    App,
    /// Used by experiments; has all permissions.
    Admin,
}

impl User {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Admin => "admin",
        }
    }

    pub(super) fn password_file(self, folder: &Folder) -> PathBuf {
        folder.redis().join(format!("{}.password", self.name()))
    }
}

/// Runs once per start, with new passwords: the cache keeps no data that needs the old ones.
pub(super) fn prepare(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    for user in [User::App, User::Admin] {
        write_private(&user.password_file(folder), &random::password()?)?;
    }
    let text = format!(
        "# Written by `lab up`.\n\
         bind 127.0.0.1\n\
         port {port}\n\
         protected-mode yes\n\
         user default off\n\
         user admin on >{admin} ~* &* +@all\n\
         user app on >{app} {rules}\n\
         save \"\"\n\
         appendonly no\n\
         maxmemory 64mb\n\
         maxmemory-policy allkeys-lru\n",
        port = record.port(Target::Redis),
        admin = password(folder, User::Admin)?,
        app = password(folder, User::App)?,
        rules = rules(record)?,
    );
    write_private(&configuration(folder), &text)
}

/// The rules of the replicas' user, in one line.
fn rules(record: &ProcessRecord) -> Result<String, StackError> {
    let file = record.project.redis_rules();
    let text = fs::read_to_string(&file).context(|| cannot("read", &file))?;
    let is_old = version(record).is_some_and(|version| version < (7, 2));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace).filter(|word| !is_old || *word != RULE_SINCE_7_2);
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// From `Redis server v=7.0.15 sha=…`; Valkey uses the same format.
fn version(record: &ProcessRecord) -> Option<(u32, u32)> {
    let output = Command::new(&record.programs.redis).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_once("v=")?.1.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    Launch::new(Target::Redis, &record.programs.redis, folder.redis()).arguments([configuration(folder).display()])
}

/// The URL with the password, for programs of the lab.
pub(super) fn url(folder: &Folder, record: &ProcessRecord, user: User) -> Result<String, StackError> {
    let password = password(folder, user)?;
    Ok(format!("redis://{}:{password}@{}", user.name(), place(record)))
}

/// The URL without the password: its users get the password file too.
pub(super) fn url_without_password(record: &ProcessRecord, user: User) -> String {
    format!("redis://{}@{}", user.name(), place(record))
}

fn place(record: &ProcessRecord) -> String {
    format!("127.0.0.1:{}/0", record.port(Target::Redis))
}

pub(super) fn password(folder: &Folder, user: User) -> Result<String, StackError> {
    let file = user.password_file(folder);
    fs::read_to_string(&file).context(|| cannot("read", &file))
}

fn configuration(folder: &Folder) -> PathBuf {
    folder.redis().join("redis.conf")
}
