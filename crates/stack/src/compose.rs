//! The compose driver: the same stack in containers, by the project's `docker-compose.yml` and the Docker command line.

mod address;
mod container;
mod container_network;
mod cut;
mod docker;
mod events;
mod fault;
mod known_containers;
mod observe;
mod proxies;
mod scale;
mod small_disk;
mod up;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::{container::Container, docker::docker, events::Events, known_containers::KnownContainers};
use crate::{
    DriverKind, Endpoints, HostEnvironment, Login, Operation, Project, StackError, State, Status, Target, Topology,
    UpOptions,
    driver::{Driver, Logs, Starter},
    fault::ServerFault,
    folder::Folder,
    probe::{self, Reach},
    record::{Record, Stage},
    status::{Dependencies, DependencyStatus, ReplicaEndpoint, ReplicaStatus, ServerStatus},
    supervise::table::{self, Identity},
    topology::Restart,
};

/// Postgres may have to recover; a health check runs every two seconds.
const LONGEST_START: Duration = Duration::from_secs(90);

/// The state that this driver stores; it asks the engine for the rest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ComposeRecord {
    project: Project,
    /// Compose's name of the project, which identifies its containers.
    name: String,
    /// Files of variables for the compose file; a later file overrides an earlier one.
    env_files: Vec<PathBuf>,
    /// The address at which nginx is published.
    host: String,
    port: u16,
    topology: Topology,
    /// The port at which Prometheus is published, if it was requested.
    prometheus_port: Option<u16>,
    /// The volumes, by their names in the compose file.
    volumes: Vec<String>,
}

impl ComposeRecord {
    fn base_url(&self) -> String {
        format!("http://{}:{}", self.host, self.port)
    }

    fn containers(&self) -> Result<Vec<(Target, Container)>, StackError> {
        container::of_project(&self.name)
    }

    fn container(&self, target: Target) -> Result<Option<Container>, StackError> {
        Ok(self.containers()?.into_iter().find(|(name, _)| *name == target).map(|(_, container)| container))
    }

    /// One that a command can be given to.
    fn running(&self, target: Target) -> Result<Container, StackError> {
        let container = self.container(target)?.filter(|container| container.state() != State::Stopped);
        container.ok_or_else(|| StackError::Conflict(format!("{target} is not running; `lab heal` undoes that")))
    }

    fn replicas(&self) -> Result<Vec<(Target, Container)>, StackError> {
        let mut containers = self.containers()?;
        containers.retain(|(name, _)| matches!(name, Target::Api(_)));
        Ok(containers)
    }

    /// Changes this driver's part of the stack's record.
    fn save(&self, folder: &Folder) -> Result<(), StackError> {
        match Record::load(folder)? {
            Some(record) => record.with(self)?.save(folder),
            None => Err(StackError::NotRunning { folder: folder.root().to_owned() }),
        }
    }

    fn url(&self, login: Login) -> Result<Option<String>, StackError> {
        let containers = self.containers()?;
        let find = |target| containers.iter().find(|(name, _)| *name == target).map(|(_, container)| container);
        let told = |target: Target| address::Told {
            container: find(target),
            replica: containers.iter().find(|(name, _)| matches!(name, Target::Api(_))).map(|(_, container)| container),
        };
        match login {
            Login::Postgres => told(Target::Postgres).as_the_replicas("DATABASE"),
            Login::PostgresAdmin => told(Target::Postgres).postgres_admin(),
            Login::Redis => told(Target::Redis).as_the_replicas("REDIS"),
            Login::RedisAdmin => told(Target::Redis).redis_admin(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ComposeStarter;

impl Starter for ComposeStarter {
    fn check(&self, options: &UpOptions) -> Result<(), StackError> {
        let file = options.project.compose_file();
        if !file.is_file() {
            return Err(StackError::Usage(format!("there is no {}", file.display())));
        }
        docker::check()
    }

    fn alive(&self, folder: &Folder, record: &Record) -> Result<Option<String>, StackError> {
        let record: ComposeRecord = record.part(folder)?;
        let runs = record.containers()?.iter().any(|(_, container)| container.state() != State::Stopped);
        Ok(runs.then(|| record.base_url()))
    }

    fn up(
        &self,
        folder: &Folder,
        options: &UpOptions,
        repair: &dyn Fn(&str) -> Result<(), StackError>,
        operation: &Operation<'_>,
    ) -> Result<(), StackError> {
        let repair = |record: &ComposeRecord| {
            // Before the first start there is no replica that knows the address, and nothing to repair.
            record.url(Login::PostgresAdmin)?.map_or(Ok(()), |url| repair(&url))
        };
        up::up(folder, options, &repair, operation)
    }

    fn connect(&self, folder: &Folder) -> Box<dyn Driver> {
        Box::new(ComposeStack { folder: folder.clone(), known: KnownContainers::default() })
    }

    fn stop(
        &self,
        folder: &Folder,
        record: Option<&Record>,
        purge: bool,
        operation: &Operation<'_>,
    ) -> Result<bool, StackError> {
        record.map_or(Ok(false), |record| up::stop(folder, record, purge, operation))
    }
}

/// A running stack of this driver. Every call reads the record and asks the engine again.
#[derive(Debug)]
struct ComposeStack {
    folder: Folder,
    /// For what is asked for many times a second.
    known: KnownContainers,
}

impl ComposeStack {
    fn record(&self) -> Result<ComposeRecord, StackError> {
        self.record_at().map(|(record, _)| record)
    }

    fn record_at(&self) -> Result<(ComposeRecord, Stage), StackError> {
        let is_mine = |record: &Record| record.driver == DriverKind::Compose && record.stage != Stage::Stopped;
        let record = Record::load(&self.folder)?.filter(is_mine);
        let record = record.ok_or_else(|| StackError::NotRunning { folder: self.folder.root().to_owned() })?;
        Ok((record.part(&self.folder)?, record.stage))
    }
}

/// Waits for the engine's health check.
fn await_up(record: &ComposeRecord, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
    let events = Events::follow(&record.name);
    let is_up = events.wait_for(LONGEST_START, &operation.interrupt, || {
        Ok(record.container(target)?.filter(|container| container.state() == State::Up).map(drop))
    })?;
    is_up.ok_or_else(|| {
        let seconds = LONGEST_START.as_secs();
        StackError::Conflict(format!("{target} is not healthy after {seconds} s; see `lab logs {target}`"))
    })
}

/// All targets that the stack should have, whether their containers exist or not.
fn targets(record: &ComposeRecord, containers: &[(Target, Container)]) -> Vec<Target> {
    let mut all = vec![Target::Postgres, Target::Redis, Target::Nginx];
    // Compose gives each replica the next free number, so the numbers are not always 1 to N.
    all.extend(containers.iter().map(|(target, _)| *target).filter(|target| matches!(target, Target::Api(_))));
    let missing = (record.topology.replicas as usize + 3).saturating_sub(all.len());
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
            faults: Vec::new(),
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
            session: None,
        })
    }

    fn endpoints(&self) -> Result<Endpoints, StackError> {
        let record = self.record()?;
        let containers = self.known.containers(&record.name)?;
        let replica = |(name, container): &(Target, Container)| {
            matches!(name, Target::Api(_)).then(|| ReplicaEndpoint { name: *name, url: replica_url(Some(container)) })
        };
        Ok(Endpoints { base_url: record.base_url(), replicas: containers.iter().filter_map(replica).collect() })
    }

    fn url(&self, login: Login) -> Result<Option<String>, StackError> {
        self.record()?.url(login)
    }

    fn state(&self, target: Target) -> Result<State, StackError> {
        // A missing container can be created again, like one that does not run.
        Ok(match self.record()?.container(target)?.map_or(State::Stopped, |container| container.state()) {
            State::Starting => State::Up,
            state => state,
        })
    }

    fn reach(&self, target: Target) -> Result<Reach, StackError> {
        let container = self.record()?.container(target)?.filter(|container| container.state() != State::Stopped);
        let address = container.as_ref().and_then(Container::address).and_then(|ip| ip.parse().ok());
        Ok(address.map_or(Reach::Gone, |ip| probe::reach(target, SocketAddr::new(ip, port(target)))))
    }

    fn permits(&self, fault: ServerFault) -> Result<(), StackError> {
        match fault {
            ServerFault::Cut => cut::check(),
            ServerFault::Kill | ServerFault::Stop | ServerFault::Pause | ServerFault::Crash => Ok(()),
        }
    }

    fn incarnation(&self, target: Target) -> Result<Option<String>, StackError> {
        Ok(self.record()?.container(target)?.and_then(|container| container.run()))
    }

    fn process(&self, target: Target) -> Result<Identity, StackError> {
        let pid = self.record()?.running(target)?.pid();
        let gone = || StackError::Conflict(format!("this machine has no process {pid}: {target} runs elsewhere"));
        Ok(table::entry(pid).ok_or_else(gone)?.id)
    }

    fn tell_replica(&self, target: Target, words: &[&str]) -> Result<String, StackError> {
        let container = self.record()?.running(target)?;
        Ok(docker(&[&["exec", &container.id, "api", "fault"], words].concat())?.trim().to_owned())
    }

    fn memory_limit(&self, target: Target) -> Result<serde_json::Value, StackError> {
        Ok(self.record()?.running(target)?.memory_limit())
    }

    fn limit_memory(&self, target: Target, bytes: u64) -> Result<bool, StackError> {
        self.record()?.running(target)?.limit_memory(bytes).map(|()| true)
    }

    fn restore_memory(&self, target: Target, before: &serde_json::Value) -> Result<(), StackError> {
        let container = self.record()?.container(target)?;
        // One that was replaced has its own limit.
        container.map_or(Ok(()), |container| container.restore_memory(before))
    }

    fn inject(&self, fault: ServerFault, target: Target, _: &Operation<'_>) -> Result<String, StackError> {
        fault::inject(&self.record()?, fault, target)
    }

    fn restore(&self, target: Target, cut: bool) -> Result<Vec<String>, StackError> {
        fault::restore(&self.record()?, target, cut)
    }

    fn start(&self, target: Target, operation: &Operation<'_>) -> Result<Option<String>, StackError> {
        let record = self.record()?;
        match record.container(target)? {
            None => {
                up::recreate_missing(&self.folder, &record, operation)?;
                Ok(Some("created again".to_owned()))
            }
            Some(container) if container.state() == State::Stopped => {
                docker(&["start", &container.id])?;
                Ok(Some("started again".to_owned()))
            }
            Some(_) => Ok(None),
        }
    }

    fn await_answer(&self, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
        await_up(&self.record()?, target, operation)
    }

    fn small_disk(&self) -> Result<String, StackError> {
        Ok(small_disk::PATH.to_owned())
    }

    fn make_small_disk(&self) -> Result<(), StackError> {
        small_disk::make(&self.record()?)
    }

    fn fill_small_disk(&self) -> Result<(), StackError> {
        small_disk::fill(&self.record()?)
    }

    fn remove_small_disk(&self) -> Result<(), StackError> {
        small_disk::remove(&self.record()?)
    }

    fn topology(&self) -> Result<Topology, StackError> {
        Ok(self.record()?.topology)
    }

    fn configure(&self, wanted: &Topology, operation: &Operation<'_>) -> Result<(), StackError> {
        scale::configure(&self.folder, &mut self.record()?, wanted, operation)
    }

    fn restart(&self, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError> {
        scale::restart(&self.record()?, restart, operation)
    }

    fn proxy(&self, target: Target, agent: &Path, operation: &Operation<'_>) -> Result<SocketAddr, StackError> {
        proxies::between(&self.folder, &self.record()?, target, agent, operation)
    }

    fn logs(&self) -> Result<Logs, StackError> {
        let words = ["docker", "compose", "--project-name", &self.record()?.name, "logs", "--tail", "100"];
        Ok(Logs::Command(words.map(str::to_owned).into()))
    }

    fn observe(&self, _host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        observe::start(&self.folder, &mut self.record()?, operation)
    }

    fn dead(&self) -> Result<Vec<Target>, StackError> {
        let (record, stage) = self.record_at()?;
        if stage != Stage::Running {
            return Ok(Vec::new());
        }
        let containers = self.known.containers(&record.name)?;
        let lives = |target: &Target| {
            containers.iter().any(|(name, container)| name == target && container.state() != State::Stopped)
        };
        Ok(targets(&record, &containers).into_iter().filter(|target| !lives(target)).collect())
    }
}

/// Where a server listens in its container.
fn port(target: Target) -> u16 {
    match target {
        Target::Postgres => 5432,
        Target::Redis => 6379,
        Target::Nginx => 8080,
        Target::Api(_) => 8000,
    }
}

/// Past nginx, from the engine's own machine; empty where that is elsewhere.
fn replica_url(container: Option<&Container>) -> String {
    container.and_then(Container::address).map(|ip| format!("http://{ip}:8000")).unwrap_or_default()
}
