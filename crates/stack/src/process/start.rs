//! The start, from top to bottom.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Depth, ProcessRecord, Server, account, cpu_quota, install, nginx,
    postgres::{self, Role},
    redis, replica, server,
    stop::stop,
};
use crate::{
    DriverKind, Operation, StackError, Target, Topology, UpOptions,
    error::{Context, cannot},
    folder::Folder,
    record::{Record, Stage},
    supervise::{
        ports::{self, Choice, Lease},
        table, task,
    },
};

/// The migration itself waits up to 30 s for Postgres; the rest is for the demo records on a slow disk.
const LONGEST_MIGRATION: Duration = Duration::from_secs(90);

/// nginx's usual port, at which users expect the stack.
const HTTP: u16 = 8080;
/// Not 5432 and 6379: those are left to the distribution's servers, even if they start later.
const POSTGRES: u16 = 15432;
const REDIS: u16 = 16379;
const API: u16 = 8001;

/// Starts everything. When this fails, nothing of it runs any more.
pub(super) fn up(
    folder: &Folder,
    options: &UpOptions,
    repair: &dyn Fn(&str) -> Result<(), StackError>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    empty_logs(folder)?;
    let (part, leases) = plan(folder, options, operation)?;
    let record = Record::new(DriverKind::Process, options.host.agent.clone(), &part)?;
    record.save(folder)?;
    let outcome =
        bring_up(folder, &part, repair, operation).and_then(|()| record.clone().at(Stage::Running).save(folder));
    drop(leases);
    if let Err(error) = outcome {
        operation.progress.note("stopping what was started");
        stop(folder, Some(&record), operation)?;
        return Err(error);
    }
    Ok(())
}

/// Decides programs, users and ports before anything is started.
fn plan(
    folder: &Folder,
    options: &UpOptions,
    operation: &Operation<'_>,
) -> Result<(ProcessRecord, Vec<Lease>), StackError> {
    let choice = if options.port == Some(0) { Choice::Random } else { Choice::FromUsual };
    let http = match options.port {
        None | Some(0) => choice.lease(HTTP)?,
        Some(port) => ports::lease_exactly(port)?,
    };
    let data = postgres::data_version(folder);
    let programs = install::ensure(folder, &options.host, &options.api, data, options.install, operation)?;
    let postgres_account = account::for_postgres(folder, &options.host)?;
    if let Some(account) = &postgres_account {
        account::make_reachable(folder, account)?;
    }
    if options.cpus.is_some() {
        cpu_quota::check_machine(folder)?;
    }
    let mut leases = vec![http];
    let mut servers = vec![Server { name: Target::Nginx, port: leases[0].port }];
    let replicas = (1..=options.replicas).map(|number| (Target::Api(number), API));
    for (name, usual) in [(Target::Postgres, POSTGRES), (Target::Redis, REDIS)].into_iter().chain(replicas) {
        let lease = choice.lease(usual)?;
        servers.push(Server { name, port: lease.port });
        leases.push(lease);
    }
    servers.sort_by_key(|server| server.name);
    let record = ProcessRecord {
        boot_id: table::boot_id(),
        project: options.project.clone(),
        programs,
        postgres_account,
        nginx_account: account::for_nginx(),
        topology: Topology::from(options),
        servers,
        proxies: BTreeMap::new(),
    };
    Ok((record, leases))
}

fn bring_up(
    folder: &Folder,
    record: &ProcessRecord,
    repair: &dyn Fn(&str) -> Result<(), StackError>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    postgres::prepare(folder, record, operation)?;
    one(folder, record, Target::Postgres, operation)?;
    repair(&postgres::url(folder, record, Role::Superuser)?)?;
    redis::prepare(folder, record)?;
    one(folder, record, Target::Redis, operation)?;

    operation.progress.begin("migrating the database");
    task::run(folder, &replica::migration(folder, record), LONGEST_MIGRATION, operation)?;
    operation.progress.end("done");

    replicas(folder, record, &record.replicas().collect::<Vec<_>>(), Depth::Whole, operation)?;
    nginx::prepare(folder, record)?;
    one(folder, record, Target::Nginx, operation)
}

fn one(folder: &Folder, record: &ProcessRecord, target: Target, operation: &Operation<'_>) -> Result<(), StackError> {
    operation.progress.begin(&format!("starting {target}"));
    let mut started = server::start(folder, record, target)?;
    server::await_ready(record, target, Depth::Whole, &mut started, operation)?;
    operation.progress.end(&format!("127.0.0.1:{}", record.port(target)));
    Ok(())
}

/// All in parallel, because they do not depend on each other.
pub(super) fn replicas(
    folder: &Folder,
    record: &ProcessRecord,
    wanted: &[Target],
    depth: Depth,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let names = wanted.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    operation.progress.begin(&format!("starting {names}"));
    let mut children = Vec::new();
    for target in wanted {
        operation.interrupt.check()?;
        children.push((*target, server::start(folder, record, *target)?));
    }
    for (target, started) in &mut children {
        server::await_ready(record, *target, depth, started, operation)?;
    }
    let ports: Vec<String> = wanted.iter().map(|target| format!("127.0.0.1:{}", record.port(*target))).collect();
    operation.progress.end(&ports.join(", "));
    Ok(())
}

/// Logs contain only the present run.
fn empty_logs(folder: &Folder) -> Result<(), StackError> {
    let logs = folder.root().join("logs");
    for file in std::fs::read_dir(&logs).context(|| cannot("read", &logs))?.flatten() {
        std::fs::write(file.path(), "").context(|| cannot("empty", file.path()))?;
    }
    Ok(())
}
