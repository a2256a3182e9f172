//! Postgres: how its data is created once, and how the server is started on it.

use std::{fs, path::PathBuf, time::Duration};

use super::{ProcessRecord, account, launch::Launch, random, task};
use crate::{
    Operation, StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
};

/// `initdb` takes two seconds, and its data is flushed to a disk that may be slow.
const LONGEST_INIT: Duration = Duration::from_secs(120);

/// The database of the stack.
const DATABASE: &str = "app";

const SETTINGS: [(&str, &str); 10] = [
    ("listen_addresses", "127.0.0.1"),
    // All clients use TCP, so that a cut affects all of them; also, a socket's path could become too long (107 bytes).
    ("unix_socket_directories", ""),
    // Much larger than the demo data; 16 replicas with 6 connections each fit too.
    ("shared_buffers", "64MB"),
    ("max_connections", "100"),
    ("fsync", "on"),
    // Files below the data folder instead of /dev/shm, where a killed server leaves them forever.
    ("dynamic_shared_memory_type", "mmap"),
    // Connections whose client disappeared (a cut, a killed replica) end after half a minute instead of two hours.
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_user_timeout", "20000"),
    ("log_line_prefix", "%m [%p] %q%u@%d "),
];

/// A role of the database; `deploy/postgres/roles.sql` says what each may do.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Used by the replicas.
    App,
    /// Used by `api migrate`; owns the tables.
    Migrator,
    /// Used by experiments.
    Superuser,
}

impl Role {
    const ALL: [Self; 3] = [Self::App, Self::Migrator, Self::Superuser];

    fn name(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Migrator => "migrator",
            Self::Superuser => "postgres",
        }
    }

    /// The setting from which `roles.sql` reads the password.
    fn setting(self) -> &'static str {
        match self {
            Self::App => "stack.app_password",
            Self::Migrator => "stack.migrator_password",
            Self::Superuser => "stack.superuser_password",
        }
    }

    pub(super) fn password_file(self, folder: &Folder) -> PathBuf {
        folder.postgres().join(format!("{}.password", self.name()))
    }
}

pub(super) fn data(folder: &Folder) -> PathBuf {
    folder.postgres_data()
}

/// The major version that created the existing data.
pub(super) fn data_version(folder: &Folder) -> Option<u32> {
    fs::read_to_string(data(folder).join("PG_VERSION")).ok()?.trim().parse().ok()
}

/// Creates the data unless it exists, and updates the roles, their passwords and their privileges.
pub(super) fn prepare(folder: &Folder, record: &ProcessRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    let owner = record.postgres_account.as_ref();
    account::own_folder(&folder.postgres(), owner)?;
    for file in Role::ALL.map(|role| role.password_file(folder)).iter().filter(|file| !file.exists()) {
        write_private(file, &random::password()?)?;
        account::give(file, owner)?;
    }
    if data_version(folder).is_none() {
        operation.progress.begin("creating the database");
        create(folder, record, operation)?;
        operation.progress.end("done");
    }
    // Single-user mode refuses to start too if files of a crashed server are left.
    sweep(folder);
    let roles = record.project.roles();
    let roles = fs::read_to_string(&roles).context(|| cannot("read", &roles))?;
    let mut script = String::new();
    for role in Role::ALL {
        // Digits and letters, unless the user chose another password.
        let password = password(folder, role)?.replace('\'', "''");
        script.push_str(&format!("SET {} = '{}';\n\n", role.setting(), password.trim_end_matches(['\r', '\n'])));
    }
    run_sql(folder, record, "data", DATABASE, &(script + &roles), operation)
}

/// The folder gets its name only when the data is complete, so an interrupted start leaves no data.
fn create(folder: &Folder, record: &ProcessRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    let home = folder.postgres();
    let new = home.join("data.new");
    if new.exists() {
        fs::remove_dir_all(&new).context(|| cannot("remove", &new))?;
    }
    let arguments = [
        "--pgdata=data.new",
        "--username=postgres",
        "--pwfile=postgres.password",
        "--auth=scram-sha-256",
        // Exists on every machine; the demo needs no language-specific sort order.
        "--locale=C",
        "--encoding=UTF8",
    ];
    let mut launch = Launch::new("initdb", record.programs.postgres.join("initdb"), &home).arguments(arguments);
    launch.account = record.postgres_account.clone();
    task::run(folder, &launch, LONGEST_INIT, operation)?;
    run_sql(folder, record, "data.new", "postgres", &format!("CREATE DATABASE {DATABASE};\n\n"), operation)?;
    fs::rename(&new, data(folder)).context(|| cannot("rename", &new))
}

/// Runs statements as the superuser while no server runs. The first one that fails is an error. Passed on standard
/// input, because every user can read a command line.
fn run_sql(
    folder: &Folder,
    record: &ProcessRecord,
    data: &str,
    database: &str,
    sql: &str,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let home = folder.postgres();
    let script = home.join("init.sql");
    write_private(&script, sql)?;
    account::give(&script, record.postgres_account.as_ref())?;
    let arguments = ["--single", "-j", "-D", data, "-c", "password_encryption=scram-sha-256", "-c", "exit_on_error=on"];
    // A fault of an earlier run may have left the data read-only; it is undone once the server runs.
    let arguments = arguments.into_iter().chain(["-c", "default_transaction_read_only=off", database]);
    let mut launch = Launch::new("initdb", record.programs.postgres.join("postgres"), &home).arguments(arguments);
    launch.account = record.postgres_account.clone();
    launch.input = Some(script.clone());
    let ran = task::run(folder, &launch, LONGEST_INIT, operation);
    let _ = fs::remove_file(&script);
    ran
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    let data = data(folder);
    let mut launch = Launch::new(Target::Postgres, record.programs.postgres.join("postgres"), folder.postgres())
        .arguments(["-D", &data.to_string_lossy(), "-c", &format!("port={}", record.port(Target::Postgres))])
        .arguments(SETTINGS.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
    launch.account = record.postgres_account.clone();
    launch
}

/// The URL with the password, for programs of the lab.
pub(super) fn url(folder: &Folder, record: &ProcessRecord, role: Role) -> Result<String, StackError> {
    let password = password(folder, role)?;
    Ok(format!("postgres://{}:{password}@{}", role.name(), place(record)))
}

/// The URL without the password: its users get the password file too.
pub(super) fn url_without_password(record: &ProcessRecord, role: Role) -> String {
    format!("postgres://{}@{}", role.name(), place(record))
}

fn place(record: &ProcessRecord) -> String {
    format!("127.0.0.1:{}/{DATABASE}", record.port(Target::Postgres))
}

/// Removes what a killed server leaves, which would prevent the next start or stay forever. Call it only when none of
/// the server's processes is alive.
pub(super) fn sweep(folder: &Folder) {
    let file = data(folder).join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return };
    // Line 7: key and id of the shared memory segment from which Postgres detects a running server.
    if let Some((key, id)) = text.lines().nth(6).and_then(|line| line.trim().split_once(char::is_whitespace)) {
        remove_shared_memory(key, id.trim());
    }
    let _ = fs::remove_file(file);
}

/// Only if it still has that key and is not in use.
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
    fs::read_to_string(&file).context(|| format!("{} (lost? `lab up` creates a new one)", cannot("read", &file)))
}
