//! nginx: the project's configuration, and the four small files in which this driver differs from compose.

use std::{fs, thread};

use super::{ProcessRecord, launch::Launch, process_tree::ProcessTree};
use crate::{
    Interrupt, StackError, Target,
    error::{Context, cannot},
    folder::Folder,
};
use rustix::process::Signal;
use std::time::Duration;

/// New workers start within milliseconds of a reload.
const RELOAD_PATIENCE: Duration = Duration::from_secs(5);

/// A worker passes on some 50,000 requests per second, more than two replicas of one thread serve. Each further worker takes
/// CPU time from the replicas, Redis and Postgres, which run on the same cores.
const CORES_PER_WORKER: usize = 2;

/// Connections that nginx has not accepted yet. The kernel lowers it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Lines of the access log are collected for a tenth of a second at most, so that who reads the log sees each second
/// as it was; a `write` per line is a system call per request.
const ACCESS_LOG_BUFFER: &str = "buffer=64k flush=100ms";

/// Paths are relative to nginx's folder where possible: nginx reads `$` in a path as a variable.
pub(super) fn prepare(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    let home = folder.nginx();
    let temporary = folder.services().join("nginx-temp");
    let temporary = match temporary.strip_prefix(folder.root()) {
        Ok(inside) => format!("../{}", inside.display()),
        Err(_) => temporary.display().to_string(),
    };
    let user = record.nginx_account.as_ref().map(|account| format!("user {};\n", account.name)).unwrap_or_default();
    let workers = workers();
    let main = format!("{user}daemon off;\npid nginx.pid;\nerror_log stderr warn;\nworker_processes {workers};\n");
    let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = kinds.iter().map(|kind| format!("{kind}_temp_path {temporary}/{kind};\n")).collect();

    let driver = home.join("driver");
    fs::create_dir_all(&driver).context(|| cannot("create", &driver))?;
    fs::create_dir_all(folder.services().join("nginx-temp")).context(|| cannot("create", "nginx-temp"))?;
    let original = record.project.nginx_configuration();
    let copy = home.join("nginx.conf");
    fs::copy(&original, &copy).context(|| format!("cannot copy {} to {}", original.display(), copy.display()))?;
    write(folder, "main.conf", &main)?;
    write(folder, "http.conf", &format!("access_log ../logs/nginx-access.log json {ACCESS_LOG_BUFFER};\n{paths}"))?;
    // The status page is for the exporter; this listener is on loopback.
    let status = "location = /stub_status { stub_status; access_log off; }";
    write(
        folder,
        "listen.conf",
        &format!("listen 127.0.0.1:{} backlog={BACKLOG};\n{status}\n", record.port(Target::Nginx)),
    )?;
    write_servers(folder, record)
}

/// As in compose: each replica once as a peer that a failure excludes for a moment, and once as a backup for when all
/// are excluded. Together they send a replica as many requests at a time as it admits: `max_conns`.
fn write_servers(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    let ports = || record.replicas().map(|replica| record.port(replica));
    let (share, reserved) = match record.topology.concurrency_limit() {
        Some(limit) => {
            let (share, reserved) = shares(limit);
            (format!(" max_conns={share}"), format!(" max_conns={reserved}"))
        }
        None => (String::new(), String::new()),
    };
    let peers = ports().map(|port| format!("server 127.0.0.1:{port} max_fails=1 fail_timeout=3s{share};\n"));
    let reserve = ports().map(|port| format!("server 127.0.0.1:{port} max_fails=0{reserved} backup;\n"));
    write(folder, "servers.conf", &peers.chain(reserve).collect::<String>())
}

fn workers() -> usize {
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / CORES_PER_WORKER).max(1)
}

/// A replica's requests at a time: by its first entry, and by its reserve. A share of 0 would be no limit.
fn shares(limit: u32) -> (u32, u32) {
    let reserved = (limit / 5).max(1);
    (limit.saturating_sub(reserved).max(1), reserved)
}

pub(super) fn launch(folder: &Folder, record: &ProcessRecord) -> Launch {
    let home = folder.nginx();
    let arguments = [format!("{}/", home.display()), home.join("nginx.conf").display().to_string()];
    let [prefix, configuration] = &arguments;
    Launch::new(Target::Nginx, &record.programs.nginx, &home).arguments(["-p", prefix, "-c", configuration])
}

/// Makes the running nginx use the record's replicas. When this returns, no new request goes to a replica that is not
/// in the record any more.
pub(super) fn follow_replicas(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    write_servers(folder, record)?;
    let tree = ProcessTree::find(folder, "nginx")?;
    let before: Vec<_> = tree.members().into_iter().map(|entry| entry.id).collect();
    if !tree.signal_leader(Signal::HUP)? {
        // Not running: it reads the file when it starts.
        return Ok(());
    }
    let reloaded = Interrupt::default().wait_while_cleaning(RELOAD_PATIENCE, || {
        let now = tree.members();
        let has_new = now.iter().any(|entry| !before.contains(&entry.id));
        // The master process stays; old workers have a different process title while they finish their requests, or are
        // gone.
        has_new && now.iter().skip(1).filter(|entry| before.contains(&entry.id)).all(|entry| is_leaving(entry.id.pid))
    });
    if reloaded {
        return Ok(());
    }
    Err(StackError::Conflict("nginx did not load the new list of replicas; see its log".to_owned()))
}

fn is_leaving(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|title| title.contains("shutting down"))
}

fn write(folder: &Folder, name: &str, text: &str) -> Result<(), StackError> {
    let path = folder.nginx().join("driver").join(name);
    fs::write(&path, format!("# Written by `lab up`.\n{text}")).context(|| cannot("write", &path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_and_its_reserve_share_its_limit_and_neither_is_without_limit() {
        assert_eq!(shares(100), (80, 20));
        for limit in 2..1_000 {
            let (share, reserved) = shares(limit);
            assert!(share > 0 && reserved > 0 && share + reserved == limit, "{limit}");
        }
        assert_eq!(shares(1), (1, 1), "nginx knows no smaller pair");
    }
}
