//! The process driver: the distribution's own servers and the API's replicas as processes on loopback.

mod account;
mod control_group;
mod cpu_quota;
mod fault;
mod install;
mod memory_limit;
mod nginx;
mod observe;
mod packet_filter;
mod postgres;
mod programs;
mod proxies;
mod redis;
mod replica;
mod scale;
mod server;
mod small_disk;
mod start;
mod stop;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::{postgres::Role, programs::Programs, redis::User};
use crate::{
    DriverKind, Endpoints, HostEnvironment, Login, Operation, Project, StackError, State, Status, Target, Topology,
    UpOptions,
    driver::{Driver, Logs, Starter},
    fault::ServerFault,
    folder::Folder,
    probe::{self, Depth, Reach},
    record::{Record, Stage},
    status::{Dependencies, DependencyStatus, ReplicaEndpoint, ReplicaStatus, ServerStatus},
    supervise::{
        launch::{self, Account},
        ports,
        process_tree::{self, ProcessTree},
        random,
        table::{self, Identity},
        task,
    },
    topology::Restart,
};

/// The state that this driver stores. Together with the pids in `run/` it is enough to restart any server.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct ProcessRecord {
    /// The boot of the machine that the pids belong to.
    boot_id: String,
    project: Project,
    programs: Programs,
    /// `None`: the user of the lab.
    postgres_account: Option<Account>,
    nginx_account: Option<Account>,
    topology: Topology,
    /// Dependencies first, then the replicas by number.
    servers: Vec<Server>,
    /// The ports at which replicas reach a dependency, if there is a proxy.
    proxies: BTreeMap<Target, u16>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Server {
    name: Target,
    port: u16,
}

impl ProcessRecord {
    fn server(&self, name: Target) -> Option<&Server> {
        self.servers.iter().find(|server| server.name == name)
    }

    /// 0, on which no server listens, for a server that the stack does not have.
    fn port(&self, name: Target) -> u16 {
        self.server(name).map_or(0, |server| server.port)
    }

    fn url(&self, name: Target) -> String {
        format!("http://127.0.0.1:{}", self.port(name))
    }

    fn replicas(&self) -> impl Iterator<Item = Target> {
        self.servers.iter().map(|server| server.name).filter(|name| matches!(name, Target::Api(_)))
    }

    /// Changes this driver's part of the stack's record.
    fn save(&self, folder: &Folder) -> Result<(), StackError> {
        match Record::load(folder)? {
            Some(record) => record.with(self)?.save(folder),
            None => Err(StackError::NotRunning { folder: folder.root().to_owned() }),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ProcessStarter;

impl Starter for ProcessStarter {
    fn check(&self, options: &UpOptions) -> Result<(), StackError> {
        programs::check_api(&options.api)
    }

    fn alive(&self, folder: &Folder, record: &Record) -> Result<Option<String>, StackError> {
        let record: ProcessRecord = record.part(folder)?;
        if record.boot_id != table::boot_id() {
            return Ok(None);
        }
        for server in &record.servers {
            if !ProcessTree::find(folder, &server.name.to_string())?.members().is_empty() {
                return Ok(Some(record.url(Target::Nginx)));
            }
        }
        Ok(None)
    }

    fn up(
        &self,
        folder: &Folder,
        options: &UpOptions,
        repair: &dyn Fn(&str) -> Result<(), StackError>,
        operation: &Operation<'_>,
    ) -> Result<(), StackError> {
        start::up(folder, options, repair, operation)
    }

    fn connect(&self, folder: &Folder) -> Box<dyn Driver> {
        Box::new(ProcessStack { folder: folder.clone() })
    }

    fn stop(
        &self,
        folder: &Folder,
        record: Option<&Record>,
        _purge: bool,
        operation: &Operation<'_>,
    ) -> Result<bool, StackError> {
        stop::stop(folder, record, operation)
    }
}

/// A running stack of this driver. It holds no state: every call reads the record again, because other programs may
/// change it.
#[derive(Debug)]
struct ProcessStack {
    folder: Folder,
}

impl ProcessStack {
    fn record(&self) -> Result<ProcessRecord, StackError> {
        self.record_at().map(|(record, _)| record)
    }

    fn record_at(&self) -> Result<(ProcessRecord, Stage), StackError> {
        let gone = || StackError::NotRunning { folder: self.folder.root().to_owned() };
        let record = Record::load(&self.folder)?.filter(|record| record.driver == DriverKind::Process);
        let record = record.ok_or_else(gone)?;
        let part: ProcessRecord = record.part(&self.folder)?;
        if part.boot_id == table::boot_id() { Ok((part, record.stage)) } else { Err(gone()) }
    }

    fn tree(&self, target: Target) -> Result<ProcessTree, StackError> {
        ProcessTree::find(&self.folder, &target.to_string())
    }

    fn server_status(&self, server: &Server) -> Result<ServerStatus, StackError> {
        let leader = self.tree(server.name)?.leader();
        let state = match &leader {
            None => State::Stopped,
            Some(entry) if entry.is_stopped() => State::Paused,
            Some(_) => match probe::reach(server.name, (Ipv4Addr::LOCALHOST, server.port).into()) {
                // Dropped packets mean that the server is isolated; they say nothing about its health.
                Reach::Answers | Reach::Dropped => State::Up,
                Reach::Troubled | Reach::Refused | Reach::Silent | Reach::Gone => State::Starting,
            },
        };
        Ok(ServerStatus {
            state,
            pid: leader.map(|entry| entry.id.pid),
            container: None,
            faults: Vec::new(),
            log: Some(self.folder.log(&server.name.to_string())),
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
        // In parallel: each server that hangs costs a whole probe timeout.
        let looks: Vec<(Target, ServerStatus)> = std::thread::scope(|scope| {
            let look = |server| scope.spawn(move || self.server_status(server));
            let threads: Vec<_> = record.servers.iter().map(|server| (server.name, look(server))).collect();
            let joined = threads.into_iter().map(|(name, thread)| {
                let status = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                Ok((name, status))
            });
            joined.collect::<Result<_, StackError>>()
        })?;
        let dependency = |name| -> Result<DependencyStatus, StackError> {
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
            session: None,
        })
    }

    fn endpoints(&self) -> Result<Endpoints, StackError> {
        let record = self.record()?;
        Ok(Endpoints {
            base_url: record.url(Target::Nginx),
            replicas: record.replicas().map(|name| ReplicaEndpoint { name, url: record.url(name) }).collect(),
        })
    }

    fn url(&self, login: Login) -> Result<Option<String>, StackError> {
        let record = self.record()?;
        let url = match login {
            Login::Postgres => postgres::url(&self.folder, &record, Role::App),
            Login::PostgresAdmin => postgres::url(&self.folder, &record, Role::Superuser),
            Login::Redis => redis::url(&self.folder, &record, User::App),
            Login::RedisAdmin => redis::url(&self.folder, &record, User::Admin),
        };
        url.map(Some)
    }

    fn state(&self, target: Target) -> Result<State, StackError> {
        Ok(match self.tree(target)?.leader() {
            None => State::Stopped,
            Some(entry) if entry.is_stopped() => State::Paused,
            Some(_) => State::Up,
        })
    }

    fn reach(&self, target: Target) -> Result<Reach, StackError> {
        Ok(probe::reach(target, (Ipv4Addr::LOCALHOST, self.record()?.port(target)).into()))
    }

    fn permits(&self, fault: ServerFault) -> Result<(), StackError> {
        match fault {
            ServerFault::Cut => packet_filter::check(),
            ServerFault::Kill | ServerFault::Stop | ServerFault::Pause | ServerFault::Crash => Ok(()),
        }
    }

    fn incarnation(&self, target: Target) -> Result<Option<String>, StackError> {
        Ok(self.tree(target)?.leader().map(|leader| leader.id.to_string()))
    }

    fn process(&self, target: Target) -> Result<Identity, StackError> {
        let gone = || StackError::Conflict(format!("{target} is not running; `lab heal` undoes that"));
        Ok(self.tree(target)?.leader().ok_or_else(gone)?.id)
    }

    fn tell_replica(&self, target: Target, words: &[&str]) -> Result<String, StackError> {
        replica::tell(&self.record()?, self.process(target)?, words)
    }

    fn memory_limit(&self, _: Target) -> Result<serde_json::Value, StackError> {
        Ok(serde_json::Value::Null)
    }

    fn limit_memory(&self, target: Target, bytes: u64) -> Result<bool, StackError> {
        Ok(memory_limit::set(&self.folder, target, self.process(target)?, bytes))
    }

    fn restore_memory(&self, target: Target, _: &serde_json::Value) -> Result<(), StackError> {
        memory_limit::lift(&self.folder, target);
        Ok(())
    }

    fn inject(&self, fault: ServerFault, target: Target, operation: &Operation<'_>) -> Result<String, StackError> {
        fault::inject(&self.folder, &self.record()?, fault, target, operation)
    }

    fn restore(&self, target: Target, cut: bool) -> Result<Vec<String>, StackError> {
        fault::restore(&self.folder, &self.record()?, target, cut)
    }

    fn start(&self, target: Target, operation: &Operation<'_>) -> Result<Option<String>, StackError> {
        server::start_again(&self.folder, &self.record()?, target, operation)
    }

    fn await_answer(&self, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
        server::await_answer(&self.record()?, target, operation)
    }

    fn small_disk(&self) -> Result<String, StackError> {
        small_disk::path(&self.folder).map(|path| path.display().to_string())
    }

    fn make_small_disk(&self) -> Result<(), StackError> {
        small_disk::make(&self.folder, &self.record()?)
    }

    fn fill_small_disk(&self) -> Result<(), StackError> {
        small_disk::fill(&self.folder)
    }

    fn remove_small_disk(&self) -> Result<(), StackError> {
        small_disk::remove(&self.folder)
    }

    fn topology(&self) -> Result<Topology, StackError> {
        Ok(self.record()?.topology)
    }

    fn configure(&self, wanted: &Topology, operation: &Operation<'_>) -> Result<(), StackError> {
        scale::configure(&self.folder, &mut self.record()?, wanted, operation)
    }

    fn restart(&self, restart: Restart, operation: &Operation<'_>) -> Result<(), StackError> {
        scale::restart(&self.folder, &self.record()?, restart, operation)
    }

    fn proxy(&self, target: Target, agent: &Path, operation: &Operation<'_>) -> Result<SocketAddr, StackError> {
        let port = proxies::between(&self.folder, &mut self.record()?, target, agent, operation)?;
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }

    fn logs(&self) -> Result<Logs, StackError> {
        Ok(Logs::Files(self.folder.logs()?))
    }

    fn observe(&self, host: &HostEnvironment, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
        observe::start(&self.folder, &self.record()?, host, operation)
    }

    fn start_alerts(
        &self,
        day: Duration,
        host: &HostEnvironment,
        operation: &Operation<'_>,
    ) -> Result<Result<String, String>, StackError> {
        observe::start_alerts(&self.folder, &self.record()?, host, day, operation)
    }

    fn stop_alerts(&self) -> Result<(), StackError> {
        observe::stop_alerts(&self.folder)
    }

    fn dead(&self) -> Result<Vec<Target>, StackError> {
        let (record, stage) = self.record_at()?;
        let mut dead = Vec::new();
        for server in record.servers.iter().filter(|_| stage == Stage::Running) {
            let started = launch::recorded(&self.folder, &server.name.to_string())?.map(|entry| entry.id);
            if started.and_then(Identity::look).is_none() {
                started.inspect(|id| process_tree::collect_if_child(id.pid));
                dead.push(server.name);
            }
        }
        Ok(dead)
    }
}
