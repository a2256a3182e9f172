//! A replica of the real binary, with the variables a test wants.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{proxy::Proxy, servers::Servers};

/// The deadline for any condition: far longer than necessary, so that only a real failure reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// For tests that are not about time: no request times out because the machine is busy.
pub const PATIENT: [(&str, &str); 1] = [("TIMEOUTS", "off")];

pub struct Replica {
    child: Child,
    log: Arc<Log>,
    pub address: SocketAddr,
    _servers: Option<Arc<Servers>>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<Value>>,
    grew: Condvar,
}

/// The binary with only those variables of the test's environment that any program needs.
pub fn api(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_api"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

impl Replica {
    /// A replica over the shared servers.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let servers = Servers::shared();
        let mut command = api(&["serve"]);
        command.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", &servers.redis_url);
        Self::start_with(command, variables, Some(servers))
    }

    /// A replica over whatever `command` says.
    pub fn start_with(mut command: Command, variables: &[(&str, &str)], servers: Option<Arc<Servers>>) -> Self {
        command.env("LISTEN_ADDR", "127.0.0.1:0").env("INSTANCE_NAME", "api-under-test");
        let mut child = command.envs(variables.iter().copied()).stdout(Stdio::piped()).spawn().expect("api starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let log = Arc::new(Log::default());
        let collected = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in the log line {line}"));
                collected.lines.lock().expect("whole").push(line);
                collected.grew.notify_all();
            }
        });
        let mut replica = Self { child, log, address: ([127, 0, 0, 1], 0).into(), _servers: servers };
        let ready = replica.wait_for_log(|line| line["message"] == "ready");
        replica.address = ready["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
        replica
    }

    /// A replica over `servers`, after its prober has seen them up.
    pub fn start_on(servers: &Arc<Servers>, variables: &[(&str, &str)]) -> Self {
        let mut command = api(&["serve"]);
        command.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", &servers.redis_url);
        let replica = Self::start_with(command, variables, Some(Arc::clone(servers)));
        for dependency in ["redis", "postgres"] {
            replica.wait_for_log(|line| line["message"] == "dependency is up" && line["dependency"] == dependency);
        }
        replica
    }

    /// The replica after its prober has seen the dependencies up.
    pub fn start_connected(variables: &[(&str, &str)]) -> Self {
        let replica = Self::start(variables);
        for dependency in ["redis", "postgres"] {
            replica.wait_for_log(|line| line["message"] == "dependency is up" && line["dependency"] == dependency);
        }
        replica
    }

    /// A replica whose Postgres and Redis are reached through proxies, after its prober has seen them up.
    pub fn start_behind(postgres: &Proxy, redis: &Proxy, variables: &[(&str, &str)]) -> Self {
        let servers = Servers::shared();
        let database_url = postgres.in_place_of(&servers.database_url);
        let redis_url = redis.in_place_of(&servers.redis_url);
        let mut command = api(&["serve"]);
        command.env("DATABASE_URL", database_url).env("REDIS_URL", redis_url);
        let replica = Self::start_with(command, variables, Some(servers));
        for dependency in ["redis", "postgres"] {
            replica.wait_for_log(|line| line["message"] == "dependency is up" && line["dependency"] == dependency);
        }
        replica
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The first log line that `wanted` accepts.
    pub fn wait_for_log(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = self.log.lines.lock().expect("whole");
        let missing = |lines: &mut Vec<Value>| !lines.iter().any(&wanted);
        let (lines, waited) = self.log.grew.wait_timeout_while(lines, PATIENCE, missing).expect("whole");
        assert!(!waited.timed_out(), "the log line did not come; there is {lines:#?}");
        lines.iter().find(|line| wanted(line)).expect("just found").clone()
    }

    /// Waits until so many log lines are as wanted.
    pub fn wait_for_log_lines(&self, count: usize, wanted: impl Fn(&Value) -> bool) {
        let lines = self.log.lines.lock().expect("whole");
        let too_few = |lines: &mut Vec<Value>| lines.iter().filter(|line| wanted(line)).count() < count;
        let (lines, waited) = self.log.grew.wait_timeout_while(lines, PATIENCE, too_few).expect("whole");
        assert!(!waited.timed_out(), "{count} log lines did not come; there is {lines:#?}");
    }

    pub fn log_lines(&self) -> Vec<Value> {
        self.log.lines.lock().expect("whole").clone()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process id");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self) -> ExitStatus {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < give_up, "the replica does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // Either fails only when the process has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
