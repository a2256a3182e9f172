//! Faults that must continue after the lab has returned: a lock, a pause, a proxy. Each runs in its own process: the
//! lab's program, started again with the argument `agent` and its task on standard input. The process is recorded like
//! every server, so `lab heal` and `lab down` find it after any crash, and the fault ends with the process.

use std::{
    fs,
    io::{self, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use redis::Connection;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::{
    StackError,
    error::{Context, cannot},
    folder::{Folder, write_private},
    proxy,
    sql::Sql,
    supervise::{
        launch::{self, Launch},
        table::Identity,
    },
};

/// One slice of a pause. `CLIENT UNPAUSE` is paused like every other command, so a pause ends only when its time is
/// over.
const SLICE: Duration = Duration::from_secs(1);

/// Between two looks at a process that leaks: at 10 MB/s it is ended within 200 kB of its limit.
const LOOK: Duration = Duration::from_millis(20);

/// What an agent does until it is killed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AgentTask {
    /// A transaction that never ends.
    HoldLock { url: String, statement: String },
    /// `CLIENT PAUSE`, repeated slice by slice.
    PauseClients { url: String },
    /// Ends a process that uses more memory, where the kernel cannot be told to.
    LimitMemory { process: Identity, bytes: u64 },
    /// Forwards connections, shaped as the file says; SIGHUP makes it read the file again.
    Proxy { listen: SocketAddr, upstream: SocketAddr, shape: PathBuf },
}

/// Starts an agent under this name.
pub(crate) fn start(folder: &Folder, program: &Path, name: &str, task: &AgentTask) -> Result<(), StackError> {
    launch(folder, program, name, task, Launch::new(name, program, folder.root()).arguments(["agent"]))
}

/// The same in the network of another process.
pub(crate) fn start_in_network_of(
    folder: &Folder,
    program: &Path,
    name: &str,
    task: &AgentTask,
    pid: u32,
) -> Result<(), StackError> {
    let words = ["--target", &pid.to_string(), "--net", "--", &program.to_string_lossy(), "agent"];
    launch(folder, program, name, task, Launch::new(name, "nsenter", folder.root()).arguments(words))
}

fn launch(folder: &Folder, program: &Path, name: &str, task: &AgentTask, mut launch: Launch) -> Result<(), StackError> {
    if program.as_os_str().is_empty() {
        return Err(StackError::Usage(
            "this program cannot run an agent, which this fault needs; use `lab`".to_owned(),
        ));
    }
    // The task contains a password, so it is not passed as an argument.
    let input = folder.run().join(format!("{name}.task"));
    let text = serde_json::to_string(task).map_err(io::Error::from).context(|| cannot("write", &input))?;
    write_private(&input, &text)?;
    launch.input = Some(input.clone());
    // `recorded` waits until the program runs; by then the program has opened its input.
    let started = launch.start(folder).and_then(|_| launch::recorded(folder, name)).map(drop);
    let _ = fs::remove_file(&input);
    started
}

/// Runs the task that is read from standard input. Returns only when the task cannot continue.
///
/// # Errors
/// Every return is an error: the connection was lost, or the port was taken.
pub fn run_agent() -> Result<(), StackError> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).context(|| "cannot read the task".to_owned())?;
    let task: AgentTask =
        serde_json::from_str(&text).map_err(io::Error::from).context(|| "cannot read the task".to_owned())?;
    match task {
        AgentTask::HoldLock { url, statement } => hold_lock(&url, &statement),
        AgentTask::PauseClients { url } => pause_clients(&url).map_err(|error| StackError::Command {
            command: "redis: CLIENT PAUSE".to_owned(),
            detail: error.to_string(),
        }),
        AgentTask::LimitMemory { process, bytes } => limit_memory(process, bytes),
        AgentTask::Proxy { listen, upstream, shape } => {
            proxy::run(listen, upstream, &shape).context(|| format!("the proxy in front of {upstream} has ended"))
        }
    }
}

fn hold_lock(url: &str, statement: &str) -> Result<(), StackError> {
    let mut sql = Sql::connect(url)?;
    sql.run("BEGIN")?;
    // Without a limit: another session may hold the lock.
    sql.run_unbounded(&format!("SET LOCAL idle_in_transaction_session_timeout = 0; {statement}"))?;
    loop {
        // Succeeds as long as the transaction is open.
        std::thread::sleep(SLICE);
        sql.run("SELECT 1")?;
    }
}

/// The next pause is always sent before the last one ends. Redis serves waiting clients in order of arrival, and this
/// connection has waited longest, so no other client is served in between.
fn pause_clients(url: &str) -> Result<(), redis::RedisError> {
    let mut connection: Connection = redis::Client::open(url)?.get_connection()?;
    let pause = redis::cmd("CLIENT").arg("PAUSE").arg(SLICE.as_millis() as u64).arg("ALL").get_packed_command();
    connection.send_packed_command(&pause)?;
    loop {
        connection.send_packed_command(&pause)?;
        connection.recv_response()?;
    }
}

/// As the kernel does it for a control group: SIGKILL.
fn limit_memory(process: Identity, bytes: u64) -> Result<(), StackError> {
    while process.look().is_some() {
        if process.resident().is_some_and(|resident| resident > bytes) {
            process.signal(Signal::KILL).context(|| format!("cannot end {process}"))?;
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
