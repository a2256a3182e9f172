//! Postgres: how its data is made once, and how the server is started on it.

use std::{fs, path::PathBuf, time::Duration};

use super::{ProcessRecord, account, launch::Launch, random, task};
use crate::{
    Operation, StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// `initdb` takes two seconds, and its data is flushed to a disk that may be slow.
const LONGEST_INIT: Duration = Duration::from_secs(120);

/// The replicas' own database and user; the superuser `postgres` is for experiments.
const SQL: &str = "CREATE ROLE app LOGIN PASSWORD '{password}';\nCREATE DATABASE app OWNER app;\n";

const SETTINGS: [(&str, &str); 10] = [
    ("listen_addresses", "127.0.0.1"),
    // Everybody comes by TCP, so that a cut cuts everybody; and a socket's path could become too long (107 bytes).
    ("unix_socket_directories", ""),
    // The demo data fits many times; 16 replicas with 6 connections each fit, too.
    ("shared_buffers", "64MB"),
    ("max_connections", "100"),
    ("fsync", "on"),
    // Files below the data folder instead of /dev/shm, where a killed server would leave them for ever.
    ("dynamic_shared_memory_type", "mmap"),
    // Connections whose client vanished (a cut, a killed replica) end in half a minute instead of two hours.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_user_timeout", "20000"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

#[derive(Debug, Clone, Copy)]
enum Role {
    App,
    Superuser,
}

impl Role {
    fn password_file(self, folder: &Folder) -> PathBuf {
        folder.postgres().join(match self {
            Self::App => "app.password",
            Self::Superuser => "postgres.password",
        })
    }
}

pub(super) fn data(folder: &Folder) -> PathBuf {
    folder.postgres_data()
}

/// The major version that made the existing data.
pub(super) fn data_version(folder: &Folder) -> Option<u32> {
    fs::read_to_string(data(folder).join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Makes the data unless it exists. It gets its name only when it is complete, so an interrupted start leaves none.
pub(super) fn prepare(folder: &Folder, record: &ProcessRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    let owner = record.postgres_account.as_ref();
    let home = folder.postgres();
    account::own_folder(&home, owner)?;
    if data_version(folder).is_some() {
        return Ok(());
    }
    operation.progress.begin("creating the database");
    let new = home.join("data.new");
    if new.exists() {
        fs::remove_dir_all(&new).context(|| cannot("remove", &new))?;
    }
    for role in [Role::App, Role::Superuser] {
        let file = role.password_file(folder);
        write_private(&file, &random::password()?)?;
        account::give(&file, owner)?;
    }
    let arguments = [
        "--pgdata=data.new",
        "--username=postgres",
        "--pwfile=postgres.password",
        "--auth=scram-sha-256",
        // There on every machine; the demo needs no language's order.
        "--locale=C",
        "--encoding=UTF8",
    ];
    let mut launch = Launch::new("initdb", record.programs.postgres.join("initdb"), &home).arguments(arguments);
    launch.account = record.postgres_account.clone();
    task::run(folder, &launch, LONGEST_INIT, operation)?;

    let script = home.join("init.sql");
    write_private(&script, &SQL.replace("{password}", &password(folder, Role::App)?))?;
    account::give(&script, owner)?;
    let arguments = ["--single", "-D", "data.new", "-c", "password_encryption=scram-sha-256", "postgres"];
    let mut launch = Launch::new("initdb", record.programs.postgres.join("postgres"), &home).arguments(arguments);
    launch.account = record.postgres_account.clone();
    launch.input = Some(script.clone());
    let ran = task::run(folder, &launch, LONGEST_INIT, operation);
    let _ = fs::remove_file(&script);
    ran?;
    fs::rename(&new, data(folder)).context(|| cannot("rename", &new))?;
    operation.progress.end("done");
    Ok(())
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    let data = data(folder);
    let mut launch = Launch::new(Target::Postgres, record.programs.postgres.join("postgres"), folder.postgres())
        .arguments(["-D", &data.to_string_lossy(), "-c", &format!("port={}", record.port(Target::Postgres))])
        .arguments(SETTINGS.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
    launch.account = record.postgres_account.clone();
    launch
}

pub(super) fn url(folder: &Folder, record: &ProcessRecord) -> Result<String, StackError> {
    let password = password(folder, Role::App)?;
    Ok(format!("postgres://app:{password}@127.0.0.1:{}/app", record.port(Target::Postgres)))
}

pub(super) fn admin_url(folder: &Folder, record: &ProcessRecord) -> Result<String, StackError> {
    let password = password(folder, Role::Superuser)?;
    Ok(format!("postgres://postgres:{password}@127.0.0.1:{}/app", record.port(Target::Postgres)))
}

/// Removes what a killed server leaves, which would stop the next one or stay for ever. To be called when none of its
/// processes lives.
pub(super) fn sweep(folder: &Folder) {
    let file = data(folder).join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return };
    // Line 7: key and id of the piece of shared memory by which Postgres knows that it runs.
    if let Some((key, id)) = text.lines().nth(6).and_then(|line| line.trim().split_once(char::is_whitespace)) {
        remove_shared_memory(key, id.trim());
    }
    let _ = fs::remove_file(file);
}

/// Only if it still has that key and nobody uses it.
fn remove_shared_memory(key: &str, id: &str) {
    let Ok(table) = fs::read_to_string("/proc/sysvipc/shm") else {
        return;
    };
    let is_left = table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 6 && fields[0] == key && fields[1] == id && fields[6] == "0"
    });
    if is_left {
        let _ = std::process::Command::new("ipcrm").args(["-m", id]).output();
    }
}

fn password(folder: &Folder, role: Role) -> Result<String, StackError> {
    let file = role.password_file(folder);
    fs::read_to_string(&file).context(|| format!("{} (lost? `lab down --purge` starts afresh)", cannot("read", &file)))
}
