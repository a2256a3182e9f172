//! A replica of the API: it is configured by its environment only. Passwords are in files that the environment names.

use std::{
    path::Path,
    process::{Command, Stdio},
    thread,
};

use super::{
    ProcessRecord, cpu_quota,
    launch::Launch,
    postgres::{self, Role},
    proxies,
    redis::{self, User},
};
use crate::{StackError, Target, error::Context, folder::Folder, supervise::table::Identity};

pub(super) fn launch(folder: &Folder, record: &ProcessRecord, number: u32) -> Result<Launch, StackError> {
    let name = Target::Api(number);
    let mut launch = Launch::new(name, &record.programs.api, folder.root()).arguments(["serve"]);
    let seen = proxies::as_replicas_see_it(record);
    let redis = redis::url_without_password(&seen, User::App);
    launch.environment = vec![
        ("LISTEN_ADDR".to_owned(), format!("127.0.0.1:{}", record.port(name))),
        ("INSTANCE_NAME".to_owned(), name.to_string()),
    ];
    launch.environment.extend(database(folder, &seen, Role::App));
    launch.environment.extend(server(record, "REDIS", redis, &User::App.password_file(folder)));
    let topology = &record.topology;
    launch.environment.extend(topology.phase.map(|phase| ("PHASE".to_owned(), phase.to_string())));
    launch.environment.extend(threads(record));
    // Last, so that the user's variables win.
    launch.environment.extend(topology.env.iter().cloned());
    launch.cpu_group = topology.cpus.map(|cpus| cpu_quota::prepare(folder, name, cpus)).transpose()?;
    Ok(launch)
}

/// Without a quota a replica would start one thread for each core. Threads of several replicas that wait for the same core
/// cost more than they bring.
fn threads(record: &ProcessRecord) -> Option<(String, String)> {
    if record.topology.cpus.is_some() {
        return None;
    }
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = (cores / record.replicas().count().max(1)).max(1);
    Some(("WORKER_THREADS".to_owned(), threads.to_string()))
}

/// The one-off process that creates the schema and the demo records. It does not use Redis and gets no password for it.
pub(super) fn migration(folder: &Folder, record: &ProcessRecord) -> Launch {
    let mut launch = Launch::new("migrate", &record.programs.api, folder.root()).arguments(["migrate"]);
    launch.environment = vec![("REDIS_URL".to_owned(), redis::url_without_password(record, User::App))];
    launch.environment.extend(database(folder, record, Role::Migrator));
    launch.environment.extend(record.topology.env.iter().cloned());
    launch
}

fn database(folder: &Folder, record: &ProcessRecord, role: Role) -> Vec<(String, String)> {
    server(record, "DATABASE", postgres::url_without_password(record, role), &role.password_file(folder))
}

/// Empty if the user configured the server: that address comes with its own password.
fn server(record: &ProcessRecord, kind: &str, url: String, password_file: &Path) -> Vec<(String, String)> {
    let is_address = |name: &str| name.strip_prefix(kind).is_some_and(|rest| matches!(rest, "_URL" | "_URL_FILE"));
    if record.topology.env.iter().any(|(name, _)| is_address(name)) {
        return Vec::new();
    }
    vec![(format!("{kind}_URL"), url), (format!("{kind}_PASSWORD_FILE"), password_file.display().to_string())]
}

/// Sends a command to a replica. Bounded by `api fault` itself.
pub(super) fn tell(record: &ProcessRecord, replica: Identity, words: &[&str]) -> Result<String, StackError> {
    let pid = replica.pid.to_string();
    let mut command = Command::new(&record.programs.api);
    command.args(["fault", "--pid", &pid]).args(words).env_clear().stdin(Stdio::null());
    let output = command.output().context(|| format!("cannot start {}", record.programs.api.display()))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    Err(StackError::Command { command: format!("api fault {}", words.join(" ")), detail: text(&output.stderr) })
}
