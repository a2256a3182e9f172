//! The interface of a driver. The drivers depend on this interface and on what is below it; only `stack` depends on the
//! drivers.

use std::{
    ffi::OsString,
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    Endpoints, Login, Operation, Project, StackError, State, Status, Target, Topology, fault::ServerFault,
    folder::Folder, probe::Reach, record::Record, supervise::table::Identity, topology::Restart,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DriverKind {
    Process,
    Compose,
}

impl fmt::Display for DriverKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Process => "process",
            Self::Compose => "compose",
        })
    }
}

/// The values that this crate needs from the program's environment; it reads no variable itself.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    /// `PATH`: searched for servers before the usual folders.
    pub search_path: OsString,
    /// The user that called `sudo`: a candidate for the user that Postgres runs as.
    pub sudo_user: Option<String>,
    /// A program that calls [`run_agent`](crate::run_agent) when its only argument is `agent`. It is started for faults
    /// that must outlast the program that injects them (a lock, a slow network); empty if there is none.
    pub agent: PathBuf,
}

/// How to start a stack.
#[derive(Debug, Clone)]
pub struct UpOptions {
    pub driver: DriverKind,
    pub folder: PathBuf,
    pub project: Project,
    pub host: HostEnvironment,
    pub replicas: u32,
    /// Sets `PHASE` for the replicas.
    pub phase: Option<u8>,
    /// More variables for the replicas.
    pub env: Vec<(String, String)>,
    /// nginx's port. `None`: 8080 or the next free port; 0: all ports are random.
    pub port: Option<u16>,
    /// CPU quota of each replica, in cores.
    pub cpus: Option<f64>,
    /// The API's program; required by the process driver.
    pub api: PathBuf,
    /// Whether missing servers may be installed by the package manager.
    pub install: bool,
}

/// The driver-specific part of starting and stopping a stack. The caller holds the lock.
pub(crate) trait Starter {
    /// Checks the options before anything is changed.
    fn check(&self, options: &UpOptions) -> Result<(), StackError>;
    /// A description of what runs, if anything of this stack does.
    fn alive(&self, folder: &Folder, record: &Record) -> Result<Option<String>, StackError>;
    /// Starts everything. `repair` is called as soon as Postgres answers: an earlier run may have left a fault in its data.
    /// When this fails, nothing of the stack runs any more.
    fn up(
        &self,
        folder: &Folder,
        options: &UpOptions,
        repair: &dyn Fn(&str) -> Result<(), StackError>,
        operation: &Operation<'_>,
    ) -> Result<(), StackError>;
    fn connect(&self, folder: &Folder) -> Box<dyn Driver>;
    /// Stops everything that is left, with or without a record. True if there was anything.
    fn stop(
        &self,
        folder: &Folder,
        record: Option<&Record>,
        purge: bool,
        operation: &Operation<'_>,
    ) -> Result<bool, StackError>;
}

/// A running stack. The caller of every method that changes it holds the lock.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    fn kind(&self) -> DriverKind;
    /// The possible targets of faults.
    fn targets(&self) -> Result<Vec<Target>, StackError>;
    /// The status without faults and session, which a driver does not know.
    fn status(&self) -> Result<Status, StackError>;
    /// Cheap enough to be asked for many times a second.
    fn endpoints(&self) -> Result<Endpoints, StackError>;
    /// The URL of a server, with the account's password; `None` while it cannot be reached from this machine.
    fn url(&self, login: Login) -> Result<Option<String>, StackError>;
    /// The state according to the kernel or the engine: `Up` means that it runs, whether it answers or not.
    fn state(&self, target: Target) -> Result<State, StackError>;
    /// The state as a client sees it.
    fn reach(&self, target: Target) -> Result<Reach, StackError>;
    /// Which run of a server this is: each start makes another one. `None`: it does not run.
    fn incarnation(&self, target: Target) -> Result<Option<String>, StackError>;
    /// A server's first process, as this machine numbers it.
    fn process(&self, target: Target) -> Result<Identity, StackError>;
    /// Sends a command to a replica by its own `api fault`. Returns the answer.
    fn tell_replica(&self, target: Target, words: &[&str]) -> Result<String, StackError>;
    /// The bound of a replica's memory before a fault; `restore_memory` understands it.
    fn memory_limit(&self, target: Target) -> Result<serde_json::Value, StackError>;
    /// Has the kernel end a replica that uses more than so many bytes. False where it cannot be told that.
    fn limit_memory(&self, target: Target, bytes: u64) -> Result<bool, StackError>;
    fn restore_memory(&self, target: Target, before: &serde_json::Value) -> Result<(), StackError>;
    /// Where Postgres can be given a small file system of its own; an error where that is not permitted.
    fn small_disk(&self) -> Result<String, StackError>;
    fn make_small_disk(&self) -> Result<(), StackError>;
    fn fill_small_disk(&self) -> Result<(), StackError>;
    fn remove_small_disk(&self) -> Result<(), StackError>;
    /// Refuses a fault that this machine does not permit.
    fn permits(&self, fault: ServerFault) -> Result<(), StackError>;
    /// Injects a fault and returns a description of what was done. The caller confirms the effect.
    fn inject(&self, fault: ServerFault, target: Target, operation: &Operation<'_>) -> Result<String, StackError>;
    /// Undoes what can be undone at once: a cut, a freeze. Returns descriptions of what was undone. `cut`: a cut is
    /// known to exist.
    fn restore(&self, target: Target, cut: bool) -> Result<Vec<String>, StackError>;
    /// Starts a server that does not run; `None` if it already runs.
    fn start(&self, target: Target, operation: &Operation<'_>) -> Result<Option<String>, StackError>;
    /// Waits until a running server answers.
    fn await_answer(&self, target: Target, operation: &Operation<'_>) -> Result<(), StackError>;
    fn topology(&self) -> Result<Topology, StackError>;
    fn configure(&self, wanted: &Topology, operation: &Operation<'_>) -> Result<(), StackError>;
    fn restart(&self, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError>;
    /// The address at which the proxy before a dependency is met, as its clients meet it; brought between them if it is not
    /// there.
    fn proxy(&self, target: Target, agent: &Path, operation: &Operation<'_>) -> Result<SocketAddr, StackError>;
    /// Where each server's words are.
    fn logs(&self) -> Result<Logs, StackError>;
    /// Starts the monitoring of the stack. Returns notes for the user.
    fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError>;
    /// Starts a Prometheus that raises alerts with the times of a day of this length. Returns how its rules are timed, or
    /// why it does not run.
    fn start_alerts(
        &self,
        _day: Duration,
        _host: &HostEnvironment,
        _operation: &Operation<'_>,
    ) -> Result<Result<String, String>, StackError> {
        Ok(Err("only the process driver has rules with the times of a compressed day".to_owned()))
    }
    /// Ends it.
    fn stop_alerts(&self) -> Result<(), StackError> {
        Ok(())
    }
    /// Servers that do not run although the stack is up.
    fn dead(&self) -> Result<Vec<Target>, StackError>;
}

/// Where the logs of the servers are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// One file per name.
    Files(Vec<(String, PathBuf)>),
    /// A command that prints them; `--follow` and the names of services may be added.
    Command(Vec<String>),
}

/// What a watcher has already reported.
#[derive(Debug, Default)]
pub struct Watched {
    dead: Vec<Target>,
}

impl Watched {
    /// The servers that are dead now and not yet reported.
    pub(crate) fn update(&mut self, dead: Vec<Target>) -> Vec<Target> {
        let new = dead.iter().filter(|target| !self.dead.contains(target)).copied().collect();
        self.dead = dead;
        new
    }
}

/// The URL of a server, or an error that says that it has none.
pub(crate) fn url(driver: &dyn Driver, login: Login) -> Result<String, StackError> {
    driver.url(login)?.ok_or_else(|| {
        let server = match login {
            Login::Postgres | Login::PostgresAdmin => "Postgres",
            Login::Redis | Login::RedisAdmin => "Redis",
        };
        StackError::Usage(format!("{server} of this stack is not reachable from this machine"))
    })
}
