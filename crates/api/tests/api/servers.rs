//! Postgres and Redis for the tests: a temporary cluster, started by the first test that needs it and stopped with the
//! last one.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection, postgres::PgConnectOptions, raw_sql};
use stack::{DriverKind, HostEnvironment, Login, Operation, Project, Stack, UpOptions};
use tempfile::TempDir;

pub struct Servers {
    /// nginx, before a replica of its own.
    pub base_url: String,
    pub database_url: String,
    pub redis_url: String,
    /// For statements that the replicas' role may not execute.
    pub database_admin_url: String,
    /// For commands that the replicas' user may not execute.
    pub redis_admin_url: String,
    folder: TempDir,
}

impl Servers {
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Servers>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let servers = Arc::new(Self::start());
            *shared = Arc::downgrade(&servers);
            servers
        })
    }

    /// Servers that no other test uses, for changes that affect the whole server.
    pub fn alone() -> Arc<Self> {
        Arc::new(Self::start())
    }

    /// Executes a statement in Postgres as its superuser.
    pub async fn sql(&self, statements: &str) {
        let mut admin = self.admin().await;
        raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut admin).await.expect("Postgres does it");
    }

    /// A connection of Postgres' superuser.
    pub async fn admin(&self) -> PgConnection {
        let options: PgConnectOptions = self.database_admin_url.parse().expect("an address");
        options.connect().await.expect("Postgres answers")
    }

    /// For faults of its servers, and to heal them.
    pub fn stack(&self) -> Stack {
        Stack::connect(self.folder.path()).expect("the servers run")
    }

    /// nginx limits one client by the rules of the compose stack, at the given rate.
    pub fn limit_one_client(&self, rate: &str) {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let limits = fs::read_to_string(project.join("nginx/compose/limits-on.conf")).expect("the rules");
        let slow = limits.replace("rate=500r/s", &format!("rate={rate}")).replace("burst=250", "burst=1");
        assert!(slow.contains(&format!("rate={rate}")) && slow.contains("burst=1 "), "{slow}");
        let home = self.folder.path().join("nginx");
        let driver = home.join("driver/http.conf");
        let text = fs::read_to_string(&driver).expect("the driver's part");
        fs::write(&driver, format!("{text}{slow}")).expect("written");
        let pid = fs::read_to_string(home.join("nginx.pid")).expect("nginx runs");
        let pid = pid.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::HUP).expect("nginx reads it again");
    }

    /// Executes a command in Redis as its administrator.
    pub fn redis(&self, words: &[&str]) -> redis::Value {
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query(&mut self.redis_admin()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// A connection of Redis' administrator.
    pub fn redis_admin(&self) -> redis::Connection {
        let client = redis::Client::open(self.redis_admin_url.as_str()).expect("an address");
        client.get_connection().expect("Redis answers")
    }

    fn start() -> Self {
        let folder = TempDir::with_prefix("api-test-").expect("a folder for the servers");
        #[expect(clippy::disallowed_methods, reason = "the tests' own environment")]
        let search_path = std::env::var_os("PATH").unwrap_or_default();
        let options = UpOptions {
            driver: DriverKind::Process,
            folder: folder.path().to_owned(),
            project: Project::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("this project"),
            host: HostEnvironment { search_path, ..HostEnvironment::default() },
            replicas: 1,
            phase: None,
            env: Vec::new(),
            port: Some(0),
            cpus: None,
            api: env!("CARGO_BIN_EXE_api").into(),
            install: false,
        };
        let stack = Stack::up(&options, &Operation::default()).expect("the servers start");
        let endpoints = stack.endpoints().expect("the servers have addresses");
        let url = |login| stack.url(login).expect("the servers have passwords");
        Self {
            base_url: endpoints.base_url,
            database_url: url(Login::Postgres),
            redis_url: url(Login::Redis),
            database_admin_url: url(Login::PostgresAdmin),
            redis_admin_url: url(Login::RedisAdmin),
            folder,
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        stack::down(self.folder.path(), true, &Operation::default()).expect("the servers stop");
    }
}
