//! Postgres and Redis for the tests: a throw-away cluster, started by the first test that needs it and stopped with the
//! last one that does.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use stack::{DriverKind, HostEnvironment, Operation, Project, Stack, UpOptions};
use tempfile::TempDir;

pub struct Servers {
    pub database_url: String,
    pub redis_url: String,
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
        Self {
            database_url: endpoints.postgres_url.expect("the process driver publishes it"),
            redis_url: endpoints.redis_url.expect("the process driver publishes it"),
            folder,
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        stack::down(self.folder.path(), true, &Operation::default()).expect("the servers stop");
    }
}
