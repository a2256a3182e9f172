//! What a driver has to be able to do. The drivers know this interface and what is below it; only `stack` knows the
//! drivers.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Endpoints, Operation, Project, StackError, State, Status, Target, Topology, fault::ServerFault, folder::Folder,
    probe::Reach, record::Record, supervise::table::Identity, topology::Restart,
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

/// What this crate needs from the program's environment; it reads no variable itself.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    /// `PATH`: where servers are looked for, before the usual folders.
    pub search_path: OsString,
    /// Who called `sudo`: a candidate for the user that Postgres runs as.
    pub sudo_user: Option<String>,
    /// A program that calls [`run_agent`](crate::run_agent) when its only argument is `agent`. It is started for faults
    /// that have to last longer than the program that gives them (a lock, a slow network); empty where there is none.
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
    /// nginx's port. `None`: 8080 or the next free one; 0: all ports are drawn at random.
    pub port: Option<u16>,
    /// CPU quota of each replica, in cores.
    pub cpus: Option<f64>,
    /// The API's program; the process driver needs it.
    pub api: PathBuf,
    /// Whether missing servers may be installed by the package manager.
    pub install: bool,
}

/// The part of a start and an end that each driver does in its own way. The lock is held by the caller.
pub(crate) trait Starter {
    /// What can be refused before anything is touched.
    fn check(&self, options: &UpOptions) -> Result<(), StackError>;
    /// A word on what runs, if anything of this stack does.
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
    /// Stops all that is left, with or without a record. True when there was anything.
    fn stop(
        &self,
        folder: &Folder,
        record: Option<&Record>,
        purge: bool,
        operation: &Operation<'_>,
    ) -> Result<bool, StackError>;
}

/// A running stack. The lock is held by the caller of everything that changes it.
pub(crate) trait Driver: fmt::Debug + Send + Sync {
    fn kind(&self) -> DriverKind;
    /// What faults can be given to.
    fn targets(&self) -> Result<Vec<Target>, StackError>;
    /// Without faults and session, which no driver knows.
    fn status(&self) -> Result<Status, StackError>;
    fn endpoints(&self) -> Result<Endpoints, StackError>;
    /// As the kernel or the engine has it: `Up` is said of all that runs, whether it answers or not.
    fn state(&self, target: Target) -> Result<State, StackError>;
    /// As a client finds it.
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
    /// Refuses what this machine does not permit.
    fn permits(&self, fault: ServerFault) -> Result<(), StackError>;
    /// Breaks a server and says what was done. It is confirmed elsewhere.
    fn inject(&self, fault: ServerFault, target: Target, operation: &Operation<'_>) -> Result<String, StackError>;
    /// Undoes what takes no time: a cut, a freeze. Says what there was. `cut`: a cut is known to have been made.
    fn restore(&self, target: Target, cut: bool) -> Result<Vec<String>, StackError>;
    /// Starts a server that does not run; `None` when it does.
    fn start(&self, target: Target, operation: &Operation<'_>) -> Result<Option<String>, StackError>;
    /// Waits until a server that runs answers.
    fn await_answer(&self, target: Target, operation: &Operation<'_>) -> Result<(), StackError>;
    fn topology(&self) -> Result<Topology, StackError>;
    fn configure(&self, wanted: &Topology, operation: &Operation<'_>) -> Result<(), StackError>;
    fn restart(&self, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError>;
    /// The port of the proxy through which the replicas reach a dependency; brought between them if it is not there.
    fn proxy(&self, target: Target, agent: &Path, operation: &Operation<'_>) -> Result<u16, StackError>;
    /// Where each server's words are.
    fn logs(&self) -> Result<Logs, StackError>;
    /// Starts what watches the stack. Returns what is to be said about it.
    fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError>;
    /// Servers that do not run although the stack is complete.
    fn dead(&self) -> Result<Vec<Target>, StackError>;
}

/// Where to read what servers have said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Logs {
    /// A file for each name.
    Files(Vec<(String, PathBuf)>),
    /// A command that prints them, to which `--follow` and the names of services may be added.
    Command(Vec<String>),
}

/// What a watcher has told already.
#[derive(Debug, Default)]
pub struct Watched {
    dead: Vec<Target>,
}

impl Watched {
    /// The new ones among those that are dead now.
    pub(crate) fn update(&mut self, dead: Vec<Target>) -> Vec<Target> {
        let new = dead.iter().filter(|target| !self.dead.contains(target)).copied().collect();
        self.dead = dead;
        new
    }
}
