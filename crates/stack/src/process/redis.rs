//! Redis: a cache and nothing else. It keeps nothing on disk and forgets the oldest when its memory is full.

use std::{fs, path::PathBuf};

use super::{ProcessRecord, launch::Launch, random};
use crate::{
    StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// Once per start, with a new password: nothing survives in a cache that would need the old one.
pub(super) fn prepare(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    let password = random::password()?;
    write_private(&password_file(folder), &password)?;
    let text = format!(
        "# Written by `lab up`.\n\
         bind 127.0.0.1\n\
         port {port}\n\
         protected-mode yes\n\
         requirepass {password}\n\
         save \"\"\n\
         appendonly no\n\
         maxmemory 64mb\n\
         maxmemory-policy allkeys-lru\n",
        port = record.port(Target::Redis),
    );
    write_private(&configuration(folder), &text)
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    Launch::new(Target::Redis, &record.programs.redis, folder.redis()).arguments([configuration(folder).display()])
}

pub(super) fn password(folder: &Folder) -> Result<String, StackError> {
    let file = password_file(folder);
    fs::read_to_string(&file).context(|| cannot("read", &file))
}

pub(super) fn url(folder: &Folder, record: &ProcessRecord) -> Result<String, StackError> {
    let password = password(folder)?;
    Ok(format!("redis://:{password}@127.0.0.1:{}/0", record.port(Target::Redis)))
}

fn configuration(folder: &Folder) -> PathBuf {
    folder.redis().join("redis.conf")
}

fn password_file(folder: &Folder) -> PathBuf {
    folder.redis().join("password")
}
