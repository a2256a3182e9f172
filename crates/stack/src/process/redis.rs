//! Redis: a cache and nothing else. It keeps nothing on disk and forgets the oldest when its memory is full.

use std::{fs, path::PathBuf, process::Command};

use super::{ProcessRecord, launch::Launch, random};
use crate::{
    StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// Redis refuses to start when a rule names a command that it does not know: since 7.2.
const RULE_SINCE_7_2: &str = "+client|setinfo";

/// A user of Redis. A connection without a name and a password may do nothing.
#[derive(Debug, Clone, Copy)]
pub(super) enum User {
    /// Of the replicas; `deploy/redis/app.acl` says what it may do.
    App,
    /// For experiments; may do everything.
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

/// Once per start, with new passwords: nothing survives in a cache that would need the old ones.
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

/// Of the replicas' user, in one line.
fn rules(record: &ProcessRecord) -> Result<String, StackError> {
    let file = record.project.redis_rules();
    let text = fs::read_to_string(&file).context(|| cannot("read", &file))?;
    let is_old = version(record).is_some_and(|version| version < (7, 2));
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let words = lines.flat_map(str::split_whitespace).filter(|word| !is_old || *word != RULE_SINCE_7_2);
    Ok(words.collect::<Vec<_>>().join(" "))
}

/// From `Redis server v=7.0.15 sha=…`; Valkey says it likewise.
fn version(record: &ProcessRecord) -> Option<(u32, u32)> {
    let output = Command::new(&record.programs.redis).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut numbers = text.split_once("v=")?.1.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    Launch::new(Target::Redis, &record.programs.redis, folder.redis()).arguments([configuration(folder).display()])
}

/// With the password, for programs of the lab.
pub(super) fn url(folder: &Folder, record: &ProcessRecord, user: User) -> Result<String, StackError> {
    let password = password(folder, user)?;
    Ok(format!("redis://{}:{password}@{}", user.name(), place(record)))
}

/// Without: those who are told this are told the file as well.
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
