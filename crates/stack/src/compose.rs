//! The compose driver: the same stack in containers, by the project's `docker-compose.yml` and the Docker command line.

mod address;
mod container;
mod docker;
mod fault;
mod heal;
mod observe;
mod up;

use serde::{Deserialize, Serialize};

use self::container::Container;
use crate::{
    DriverKind, Endpoints, FaultKind, HostEnvironment, Operation, Project, StackError, State, Status, Target,
    driver::{Driver, Watched},
    folder::Folder,
    record::{Record, Stage},
    status::{Dependencies, DependencyStatus, ReplicaEndpoint, ReplicaStatus, ServerStatus},
};

pub(crate) use self::up::{check, stop, up};

/// What this driver remembers; the rest is asked from the engine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ComposeRecord {
    pub stage: Stage,
    project: Project,
    /// Compose's name for the project, by which its containers are found.
    name: String,
    /// Files of variables for the compose file; a later one wins.
    env_files: Vec<std::path::PathBuf>,
    /// Where nginx is published.
    host: String,
    port: u16,
    replicas: u32,
    phase: Option<u8>,
    env: Vec<(String, String)>,
    cpus: Option<f64>,
    /// Where Prometheus is published, if it was asked for.
    #[serde(default)]
    prometheus_port: Option<u16>,
    faults: Vec<Fault>,
}

/// Given and not undone yet. Noted before it is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Fault {
    target: Target,
    kind: FaultKind,
    /// For a cut: what the container has to be connected to again.
    networks: Vec<Network>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Network {
    name: String,
    /// The names under which the others find it there.
    aliases: Vec<String>,
}

impl ComposeRecord {
    fn base_url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    fn fault(&self, target: Target) -> Option<&Fault> {
        self.faults.iter().find(|fault| fault.target == target)
    }

    fn set_fault(&mut self, target: Target, fault: Option<Fault>) {
        self.faults.retain(|known| known.target != target);
        self.faults.extend(fault);
    }

    fn containers(&self) -> Result<Vec<(Target, Container)>, StackError> {
        container::of_project(&self.name)
    }

    fn save(&self, folder: &Folder) -> Result<(), StackError> {
        Record::Compose(self.clone()).save(folder)
    }
}

/// A word on what runs, if anything of this stack does.
pub(crate) fn alive(record: &ComposeRecord) -> Result<Option<String>, StackError> {
    let runs = record.containers()?.iter().any(|(_, container)| container.state() != State::Stopped);
    Ok(runs.then(|| record.base_url()))
}

/// A running stack of this driver. It holds nothing: every call asks the record and the engine again.
#[derive(Debug)]
pub(crate) struct ComposeStack {
    folder: Folder,
}

impl ComposeStack {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    fn record(&self) -> Result<ComposeRecord, StackError> {
        match Record::load(&self.folder)? {
            Some(Record::Compose(record)) if record.stage != Stage::Stopped => Ok(record),
            _ => Err(StackError::NotRunning { folder: self.folder.root().to_owned() }),
        }
    }

    /// For changes: what never was complete cannot be mended.
    fn running(&self) -> Result<ComposeRecord, StackError> {
        let record = self.record()?;
        record.stage.check()?;
        Ok(record)
    }
}

/// All that the stack should have, whether its container is there or not.
fn targets(record: &ComposeRecord, containers: &[(Target, Container)]) -> Vec<Target> {
    let mut all = vec![Target::Postgres, Target::Redis, Target::Nginx];
    // Compose gives each replica the next free number, so they need not be 1 to N.
    all.extend(containers.iter().map(|(target, _)| *target).filter(|target| matches!(target, Target::Api(_))));
    let missing = (record.replicas as usize + 3).saturating_sub(all.len());
    let free: Vec<Target> = (1..).map(Target::Api).filter(|target| !all.contains(target)).take(missing).collect();
    all.extend(free);
    all.sort_unstable();
    all
}

impl Driver for ComposeStack {
    fn kind(&self) -> DriverKind {
        DriverKind::Compose
    }

    fn targets(&self) -> Result<Vec<Target>, StackError> {
        let record = self.record()?;
        Ok(targets(&record, &record.containers()?))
    }

    fn status(&self) -> Result<Status, StackError> {
        let record = self.record()?;
        let containers = record.containers()?;
        let find = |target| containers.iter().find(|(name, _)| *name == target).map(|(_, container)| container);
        let server = |target| ServerStatus {
            state: find(target).map_or(State::Stopped, Container::state),
            pid: None,
            container: find(target).map(Container::short_id),
            fault: record.fault(target).map(|fault| fault.kind),
            log: None,
        };
        let dependency = |target, port: u16| DependencyStatus {
            address: find(target).and_then(Container::address).map(|ip| format!("{ip}:{port}")).unwrap_or_default(),
            server: server(target),
        };
        let replica = |name| ReplicaStatus { name, url: replica_url(find(name)), server: server(name) };
        Ok(Status {
            driver: DriverKind::Compose,
            base_url: record.base_url(),
            replicas: targets(&record, &containers)
                .into_iter()
                .filter(|name| matches!(name, Target::Api(_)))
                .map(replica)
                .collect(),
            dependencies: Dependencies {
                postgres: dependency(Target::Postgres, 5432),
                redis: dependency(Target::Redis, 6379),
                nginx: DependencyStatus {
                    address: format!("{}:{}", record.host, record.port),
                    server: server(Target::Nginx),
                },
            },
            observability: observe::addresses(&record),
        })
    }

    fn endpoints(&self) -> Result<Endpoints, StackError> {
        let record = self.record()?;
        let containers = record.containers()?;
        let find = |target| containers.iter().find(|(name, _)| *name == target).map(|(_, container)| container);
        let replicas = || containers.iter().filter(|(name, _)| matches!(name, Target::Api(_)));
        let told =
            |target: Target| address::Told { container: find(target), replica: replicas().next().map(|(_, it)| it) };
        Ok(Endpoints {
            base_url: record.base_url(),
            replicas: replicas()
                .map(|(name, container)| ReplicaEndpoint { name: *name, url: replica_url(Some(container)) })
                .collect(),
            postgres_url: told(Target::Postgres).as_the_replicas("DATABASE")?,
            postgres_admin_url: told(Target::Postgres).postgres_admin()?,
            redis_url: told(Target::Redis).as_the_replicas("REDIS")?,
            redis_admin_url: told(Target::Redis).redis_admin()?,
        })
    }

    fn inject(&self, fault: FaultKind, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
        fault::inject(&self.folder, &mut self.running()?, fault, target, operation)
    }

    fn heal(&self, only: Option<Target>, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        heal::heal(&self.folder, &mut self.running()?, only, operation)
    }

    fn observe(&self, _host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        observe::start(&self.folder, &mut self.running()?, operation)
    }

    fn scale(&self, replicas: u32, operation: &Operation<'_>) -> Result<(), StackError> {
        up::scale(&self.folder, &mut self.running()?, replicas, operation)
    }

    fn watch(&self, watched: &mut Watched) -> Result<Vec<Target>, StackError> {
        let record = self.record()?;
        if record.stage != Stage::Running {
            return Ok(Vec::new());
        }
        let containers = record.containers()?;
        let dead = targets(&record, &containers).into_iter().filter(|target| {
            let lives =
                containers.iter().any(|(name, container)| name == target && container.state() != State::Stopped);
            !lives && record.fault(*target).is_none()
        });
        Ok(watched.update(dead.collect()))
    }
}

/// Past nginx, from the engine's own machine; empty where that is elsewhere.
fn replica_url(container: Option<&Container>) -> String {
    container.and_then(Container::address).map(|ip| format!("http://{ip}:8000")).unwrap_or_default()
}
