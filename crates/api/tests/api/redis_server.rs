//! A separate redis-server, for a test that needs another configuration or a restart.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Instant,
};

use tempfile::TempDir;

use crate::{
    replica::{PATIENCE, Replica, api},
    servers::Servers,
};

pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts it with these options of the command line, and waits until it takes connections.
    pub fn start(options: &[&str]) -> Self {
        let folder = TempDir::with_prefix("api-test-redis-").expect("a folder for Redis");
        let port = free_port();
        let child = launch(port, &folder, options);
        let server = Self { child, port, folder };
        server.wait_for_connections();
        server
    }

    /// Saves everything, ends it, and starts it with these options at the same address.
    pub fn restart_with(&mut self, options: &[&str]) {
        // The answer to a shutdown is the end of the connection.
        drop(redis::cmd("SHUTDOWN").arg("SAVE").exec(&mut self.admin()));
        self.child.wait().expect("our child");
        self.child = launch(self.port, &self.folder, options);
        self.wait_for_connections();
    }

    /// A replica over this Redis and the shared Postgres.
    pub fn replica(&self, variables: &[(&str, &str)]) -> Replica {
        let servers = Servers::shared();
        let mut command = api(&["serve"]);
        command.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", self.url());
        let replica = Replica::start_with(command, variables, Some(Arc::clone(&servers)));
        replica.wait_for_log(|line| line["message"] == "dependency is up" && line["dependency"] == "postgres");
        replica
    }

    pub fn admin(&self) -> redis::Connection {
        let client = redis::Client::open(self.url()).expect("an address");
        client.get_connection().expect("Redis answers")
    }

    /// The answer to one command, or the code of the error.
    pub fn say(&self, words: &[&str]) -> Result<redis::Value, String> {
        let mut command = redis::Cmd::new();
        command.arg(words).query(&mut self.admin()).map_err(|error| error.code().unwrap_or("no code").to_owned())
    }

    /// Repeats the command until the answer is as expected.
    pub fn say_until(&self, words: &[&str], wanted: impl Fn(&Result<redis::Value, String>) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let answer = self.say(words);
            if wanted(&answer) {
                return;
            }
            assert!(Instant::now() < give_up, "{words:?}: {answer:?}");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The folder for its data.
    pub fn dump(&self) -> PathBuf {
        self.folder.path().join("dump.rdb")
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn wait_for_connections(&self) {
        let give_up = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < give_up, "Redis does not start: {}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

fn launch(port: u16, folder: &TempDir, options: &[&str]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--logfile", "log", "--save", ""]);
    command.arg("--dir").arg(folder.path()).current_dir(folder.path()).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("redis-server starts")
}
