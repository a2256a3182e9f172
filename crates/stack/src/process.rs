//! The process driver: the distribution's own servers and the API's replicas as processes on loopback.

mod account;
mod cpu_quota;
mod family;
mod fault;
mod heal;
mod install;
mod launch;
mod nginx;
mod observe;
mod packet_filter;
mod ports;
mod postgres;
mod probe;
mod programs;
mod random;
mod redis;
mod replica;
mod scale;
mod server;
mod start;
mod stop;
mod table;
mod task;

use serde::{Deserialize, Serialize};

use self::{
    family::Family, launch::Account, postgres::Role, probe::Depth, programs::Programs, redis::User, table::Identity,
};
use crate::{
    DriverKind, Endpoints, FaultKind, HostEnvironment, Operation, Project, StackError, State, Status, Target,
    UpOptions,
    driver::{Driver, Watched},
    folder::Folder,
    record::{Record, Stage},
    status::{Dependencies, DependencyStatus, ReplicaEndpoint, ReplicaStatus, ServerStatus},
};

pub(crate) use self::{
    launch::Launch,
    ports::{Choice, Lease, lease_exactly},
    start::up,
    stop::{stop, stop_together},
    task::run as run_task,
};

/// What this driver remembers. Together with the process numbers in `run/` it is enough to start any server again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ProcessRecord {
    pub stage: Stage,
    /// The machine's start that the process numbers belong to.
    boot_id: String,
    project: Project,
    programs: Programs,
    /// `None`: the user of the lab.
    postgres_account: Option<Account>,
    nginx_account: Option<Account>,
    phase: Option<u8>,
    env: Vec<(String, String)>,
    cpus: Option<f64>,
    /// Dependencies first, then the replicas in the order of their numbers.
    servers: Vec<Server>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Server {
    name: Target,
    port: u16,
    /// Given and not undone yet. Noted before it is done.
    fault: Option<FaultKind>,
}

impl ProcessRecord {
    fn server(&self, name: Target) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// 0, which nobody listens on, for a server that the stack does not have.
    fn port(&self, name: Target) -> u16 {
        self.server(name).map_or(0, |server| server.port)
    }

    fn url(&self, name: Target) -> String {
        format!("http://127.0.0.1:{}", self.port(name))
    }

    fn replicas(&self) -> impl Iterator<Item = Target> {
        self.servers.iter().map(|server| server.name).filter(|name| matches!(name, Target::Api(_)))
    }

    fn set_fault(&mut self, name: Target, fault: Option<FaultKind>) {
        for server in self.servers.iter_mut().filter(|server| server.name == name) {
            server.fault = fault;
        }
    }

    fn save(&self, folder: &Folder) -> Result<(), StackError> {
        Record::Process(self.clone()).save(folder)
    }
}

/// What can be refused before anything is touched.
pub(crate) fn check(options: &UpOptions) -> Result<(), StackError> {
    programs::check_api(&options.api)
}

/// A word on what runs, if anything of this stack does.
pub(crate) fn alive(folder: &Folder, record: &ProcessRecord) -> Result<Option<String>, StackError> {
    if record.boot_id != table::boot_id() {
        return Ok(None);
    }
    for server in &record.servers {
        if !Family::find(folder, &server.name.to_string())?.members().is_empty() {
            return Ok(Some(record.url(Target::Nginx)));
        }
    }
    Ok(None)
}

/// A running stack of this driver. It holds nothing: every call reads the record again, since others may change it.
#[derive(Debug)]
pub(crate) struct ProcessStack {
    folder: Folder,
}

impl ProcessStack {
    pub(crate) fn new(folder: Folder) -> Self {
        Self { folder }
    }

    fn record(&self) -> Result<ProcessRecord, StackError> {
        match Record::load(&self.folder)? {
            Some(Record::Process(record)) if record.boot_id == table::boot_id() => Ok(record),
            _ => Err(StackError::NotRunning { folder: self.folder.root().to_owned() }),
        }
    }

    /// For changes: what never was complete cannot be mended.
    fn running(&self) -> Result<ProcessRecord, StackError> {
        let record = self.record()?;
        record.stage.check()?;
        Ok(record)
    }

    fn server_status(&self, server: &Server) -> Result<ServerStatus, StackError> {
        let name = server.name.to_string();
        let leader = Family::find(&self.folder, &name)?.leader();
        let state = match &leader {
            None => State::Stopped,
            Some(entry) if entry.is_stopped() => State::Paused,
            // Its packets vanish, so that it cannot be asked.
            Some(_) if server.fault == Some(FaultKind::Cut) => State::Up,
            Some(_) if probe::answers(server.name, server.port, Depth::Itself) => State::Up,
            Some(_) => State::Starting,
        };
        Ok(ServerStatus {
            state,
            pid: leader.map(|entry| entry.id.pid),
            container: None,
            fault: server.fault,
            log: Some(self.folder.log(&name)),
        })
    }
}

impl Driver for ProcessStack {
    fn kind(&self) -> DriverKind {
        DriverKind::Process
    }

    fn targets(&self) -> Result<Vec<Target>, StackError> {
        Ok(self.record()?.servers.iter().map(|server| server.name).collect())
    }

    fn status(&self) -> Result<Status, StackError> {
        let record = self.record()?;
        // At the same time: each server that hangs costs a whole probe.
        let looks: Vec<(Target, ServerStatus)> = std::thread::scope(|scope| {
            let look = |server| scope.spawn(move || self.server_status(server));
            let threads: Vec<_> = record.servers.iter().map(|server| (server.name, look(server))).collect();
            let joined = threads.into_iter().map(|(name, thread)| {
                let status = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok((name, status))
            });
            joined.collect::<Result<_, StackError>>()
        })?;
        let dependency = |name| {
            let server = looks.iter().find(|(found, _)| *found == name).map(|(_, status)| status.clone());
            let server = server.ok_or_else(|| StackError::Conflict(format!("the record knows no {name}")))?;
            Ok(DependencyStatus { address: format!("127.0.0.1:{}", record.port(name)), server })
        };
        let dependencies = Dependencies {
            postgres: dependency(Target::Postgres)?,
            redis: dependency(Target::Redis)?,
            nginx: dependency(Target::Nginx)?,
        };
        let replica = |(name, server): (Target, ServerStatus)| ReplicaStatus { name, url: record.url(name), server };
        let is_replica = |(name, _): &(Target, ServerStatus)| matches!(name, Target::Api(_));
        Ok(Status {
            driver: DriverKind::Process,
            base_url: record.url(Target::Nginx),
            replicas: looks.into_iter().filter(is_replica).map(replica).collect(),
            dependencies,
            observability: observe::addresses(&self.folder)?,
        })
    }

    fn endpoints(&self) -> Result<Endpoints, StackError> {
        let record = self.record()?;
        Ok(Endpoints {
            base_url: record.url(Target::Nginx),
            replicas: record.replicas().map(|name| ReplicaEndpoint { name, url: record.url(name) }).collect(),
            postgres_url: Some(postgres::url(&self.folder, &record, Role::App)?),
            postgres_admin_url: Some(postgres::url(&self.folder, &record, Role::Superuser)?),
            redis_url: Some(redis::url(&self.folder, &record, User::App)?),
            redis_admin_url: Some(redis::url(&self.folder, &record, User::Admin)?),
        })
    }

    fn inject(&self, fault: FaultKind, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
        fault::inject(&self.folder, &mut self.running()?, fault, target, operation)
    }

    fn heal(&self, only: Option<Target>, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        heal::heal(&self.folder, &mut self.running()?, only, operation)
    }

    fn scale(&self, replicas: u32, operation: &Operation<'_>) -> Result<(), StackError> {
        scale::scale(&self.folder, &mut self.running()?, replicas, operation)
    }

    fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        observe::start(&self.folder, &self.running()?, host, operation)
    }

    fn watch(&self, watched: &mut Watched) -> Result<Vec<Target>, StackError> {
        let record = self.record()?;
        if record.stage != Stage::Running {
            return Ok(Vec::new());
        }
        let mut dead = Vec::new();
        for server in record.servers.iter().filter(|server| server.fault.is_none()) {
            let started = launch::recorded(&self.folder, &server.name.to_string())?.map(|entry| entry.id);
            if started.and_then(Identity::look).is_none() {
                started.inspect(|id| server::collect_if_child(id.pid));
                dead.push(server.name);
            }
        }
        Ok(watched.update(dead))
    }
}
