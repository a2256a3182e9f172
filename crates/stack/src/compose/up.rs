//! Start, change of size and end, by `docker compose`.

use std::{fs, path::Path, time::Duration};

use super::{
    ComposeRecord,
    docker::{self, docker},
    heal, observe,
};
use crate::{
    FaultKind, Operation, StackError, State, Target, UpOptions,
    folder::{Folder, write_private},
    http,
    process::{Choice, Launch, Lease, lease_exactly, run_task, stop_together},
    record::{Record, Stage},
};

/// Pulling images over a slow line, or compiling the API's.
const LONGEST_UP: Duration = Duration::from_secs(1800);
const LONGEST_DOWN: Duration = Duration::from_secs(180);
const LONGEST_READY: Duration = Duration::from_secs(60);

/// The name of the `docker compose` process among the folder's processes, and of its log.
const TASK: &str = "compose";

/// What can be refused before anything is touched.
pub(crate) fn check(options: &UpOptions) -> Result<(), StackError> {
    let file = options.project.compose_file();
    if !file.is_file() {
        return Err(StackError::Usage(format!("there is no {}", file.display())));
    }
    docker::check()
}

pub(crate) fn up(folder: &Folder, options: &UpOptions, operation: &Operation<'_>) -> Result<(), StackError> {
    let (mut record, lease) = plan(folder, options, operation)?;
    if let Some((target, _)) = record.containers()?.iter().find(|(_, found)| found.state() != State::Stopped) {
        return Err(StackError::Conflict(format!(
            "{target} of the compose project {name} is running already, but was not started from this state folder; \
             stop it where it was started, or with `docker compose --project-name {name} down`",
            name = record.name,
        )));
    }
    record.save(folder)?;
    drop(lease);
    let outcome = bring_up(folder, &record, operation).and_then(|()| {
        record.stage = Stage::Running;
        record.save(folder)
    });
    if outcome.is_err() {
        operation.progress.note("stopping what was started");
        stop(folder, &record, false, operation)?;
    }
    outcome
}

fn plan(folder: &Folder, options: &UpOptions, operation: &Operation<'_>) -> Result<(ComposeRecord, Lease), StackError> {
    let mut record = ComposeRecord {
        stage: Stage::Starting,
        project: options.project.clone(),
        name: String::new(),
        env_files: env_files(options.project.root()),
        host: String::new(),
        port: options.port.unwrap_or_default(),
        replicas: options.replicas,
        phase: options.phase,
        env: options.env.clone(),
        cpus: options.cpus,
        prometheus_port: None,
        faults: Vec::new(),
    };
    write_override(folder, &record)?;
    let configuration = configuration(folder, &record)?;
    record.name = configuration["name"].as_str().unwrap_or_default().to_owned();
    use_own_images(folder, &mut record, &configuration, operation)?;

    let published = &configuration["services"]["nginx"]["ports"][0];
    let is_any = |host: &&str| matches!(*host, "" | "0.0.0.0" | "::");
    let host = published["host_ip"].as_str().filter(|host| !is_any(host));
    record.host = host.unwrap_or("127.0.0.1").to_owned();
    let usual = published["published"].as_str().and_then(|port| port.parse().ok()).filter(|port| *port != 0);
    let lease = match options.port {
        Some(0) => Choice::Random.lease(0)?,
        Some(port) => lease_exactly(port)?,
        None => Choice::FromUsual.lease(usual.unwrap_or(8080))?,
    };
    record.port = lease.port;
    Ok((record, lease))
}

fn bring_up(folder: &Folder, record: &ComposeRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    operation.progress.begin("docker compose up");
    run(folder, record, &["up", "--detach", "--remove-orphans"], LONGEST_UP, operation)?;
    operation.progress.end("done");
    operation.progress.begin("waiting for an answer through nginx");
    await_answer(record, operation)?;
    // By the engine's health checks as well, so that `status` says the same.
    for (target, _) in record.containers()? {
        heal::await_up(record, target, operation)?;
    }
    operation.progress.end(&record.base_url());
    Ok(())
}

pub(super) fn scale(
    folder: &Folder,
    record: &mut ComposeRecord,
    replicas: u32,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    record.replicas = replicas;
    record.save(folder)?;
    write_override(folder, record)?;
    operation.progress.begin(&format!("scaling to {replicas}"));
    // Nothing but the replicas: a dependency that is stopped for an experiment stays so.
    let words = ["up", "--detach", "--no-recreate", "--no-deps", "api"];
    run(folder, record, &words, LONGEST_UP, operation)?;
    let containers = record.containers()?;
    let replicas: Vec<Target> =
        containers.iter().map(|(target, _)| *target).filter(|target| matches!(target, Target::Api(_))).collect();
    for fault in std::mem::take(&mut record.faults) {
        // Those that were stopped have been started again, and those that are gone need no undoing.
        let is_over = matches!(fault.target, Target::Api(_))
            && (fault.kind == FaultKind::Stop || !replicas.contains(&fault.target));
        if !is_over {
            record.faults.push(fault);
        }
    }
    record.save(folder)?;
    let broken = |target: &Target| record.fault(*target).is_some();
    for target in replicas.iter().filter(|target| !broken(target)) {
        heal::await_up(record, *target, operation)?;
    }
    operation.progress.end("done");
    Ok(())
}

/// Makes the containers that are not there, and leaves alone those that are.
pub(super) fn recreate_missing(
    folder: &Folder,
    record: &ComposeRecord,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    run(folder, record, &["up", "--detach", "--no-recreate"], LONGEST_UP, operation)
}

/// Stops and removes all containers and networks, and with `purge` the data.
pub(crate) fn stop(
    folder: &Folder,
    record: &ComposeRecord,
    purge: bool,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut stopping = record.clone();
    stopping.stage = Stage::Stopping;
    stopping.save(folder)?;
    // A `docker compose up` that outlived its lab would go on starting what is stopped here.
    stop_together(folder, &[TASK.to_owned()], operation)?;
    operation.progress.begin("docker compose down");
    // With the profile, or compose would leave alone what watches the stack.
    let down = ["--profile", observe::PROFILE, "down", "--remove-orphans"];
    let words = if purge { [&down[..], &["--volumes"]].concat() } else { down.to_vec() };
    // Not ended by the interrupt that may be the reason for it.
    let cleaning = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    run(folder, record, &words, LONGEST_DOWN, &cleaning)?;
    operation.progress.end("done");
    if purge {
        return Record::remove(folder);
    }
    stopping.stage = Stage::Stopped;
    stopping.faults.clear();
    stopping.save(folder)
}

fn await_answer(record: &ComposeRecord, operation: &Operation<'_>) -> Result<(), StackError> {
    let url = format!("{}/readyz", record.base_url());
    let answers = || http::get(&url, Duration::from_secs(2)).is_ok_and(|answer| answer.status == 200);
    let answered = operation.interrupt.wait_for(LONGEST_READY, || Ok(answers().then_some(())))?;
    answered.ok_or_else(|| {
        StackError::Conflict(format!(
            "no answer from {url} within {} s; see `docker compose logs`",
            LONGEST_READY.as_secs()
        ))
    })
}

/// `docker compose` for this stack: the project's file, and ours for what `lab up` was told.
pub(super) fn run(
    folder: &Folder,
    record: &ComposeRecord,
    words: &[&str],
    limit: Duration,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut launch = Launch::new(TASK, "docker", record.project.root());
    launch = launch.arguments(arguments(folder, record)).arguments(["--progress", "plain"]).arguments(words);
    launch.environment = environment(record);
    launch.inherits = true;
    run_task(folder, &launch, limit, operation)
}

fn arguments(folder: &Folder, record: &ComposeRecord) -> Vec<String> {
    let mut words = vec!["compose".to_owned()];
    if !record.name.is_empty() {
        words.extend(["--project-name".to_owned(), record.name.clone()]);
    }
    for file in [record.project.compose_file(), override_file(folder)] {
        words.extend(["--file".to_owned(), file.display().to_string()]);
    }
    for file in &record.env_files {
        words.extend(["--env-file".to_owned(), file.display().to_string()]);
    }
    words
}

fn environment(record: &ComposeRecord) -> Vec<(String, String)> {
    let ports =
        [("HTTP_PORT", Some(record.port).filter(|port| *port != 0)), ("PROMETHEUS_PORT", record.prometheus_port)];
    let ports = ports.into_iter().filter_map(|(name, port)| Some((name.to_owned(), port?.to_string())));
    // What loads the stack here is the lab itself.
    ports.chain([("CLIENT_LIMITS".to_owned(), "off".to_owned())]).collect()
}

fn configuration(folder: &Folder, record: &ComposeRecord) -> Result<serde_json::Value, StackError> {
    let mut words = arguments(folder, record);
    words.extend(["config", "--format", "json"].map(str::to_owned));
    let text = docker(&words)?;
    serde_json::from_str(&text).map_err(|error| StackError::Command {
        command: "docker compose config".to_owned(),
        detail: format!("its answer cannot be read: {error}"),
    })
}

/// The user's own variables, if there are any. Named, because compose does not look for them when it is given another file.
fn env_files(root: &Path) -> Vec<std::path::PathBuf> {
    let own = root.join(".env");
    if own.is_file() { vec![own] } else { Vec::new() }
}

/// Where an official image is missing and `make images` has made the ones in its place, those are used.
fn use_own_images(
    folder: &Folder,
    record: &mut ComposeRecord,
    configuration: &serde_json::Value,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let file = record.project.root().join("deploy/images/offline.env");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(()) };
    let own: Vec<&str> = text.lines().filter_map(|line| line.split_once("_IMAGE=")).map(|(_, image)| image).collect();
    let services = configuration["services"].as_object().into_iter().flatten();
    let wanted: Vec<&str> = services.filter_map(|(_, service)| service["image"].as_str()).collect();
    if all_here(&wanted) || !all_here(&own) {
        return Ok(());
    }
    operation.progress.note("the official images are not here; using those that `make images` has made");
    record.env_files.push(file);
    self::configuration(folder, record).map(drop)
}

fn all_here(images: &[&str]) -> bool {
    docker(&[&["image", "inspect", "--format", "{{.Id}}"], images].concat()).is_ok()
}

fn override_file(folder: &Folder) -> std::path::PathBuf {
    folder.root().join("compose.json")
}

/// What `lab up` was told, in compose's own terms; JSON is YAML.
fn write_override(folder: &Folder, record: &ComposeRecord) -> Result<(), StackError> {
    let mut environment: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    if let Some(phase) = record.phase {
        environment.insert("PHASE".to_owned(), phase.to_string().into());
    }
    // Compose would read `$` as the beginning of a variable.
    let literal = |value: &String| serde_json::Value::from(value.replace('$', "$$"));
    environment.extend(record.env.iter().map(|(name, value)| (name.clone(), literal(value))));
    let mut deploy = serde_json::json!({ "replicas": record.replicas });
    if let Some(cpus) = record.cpus {
        deploy["resources"]["limits"]["cpus"] = cpus.to_string().into();
    }
    // The lab asks servers and replicas from this machine, which the compose file keeps apart from them.
    let reachable = serde_json::json!({ "driver_opts": { "com.docker.network.bridge.inhibit_ipv4": "false" } });
    let text = serde_json::json!({
        "services": { "api": { "environment": environment, "deploy": deploy } },
        "networks": { "edge": reachable, "data": reachable },
    });
    write_private(&override_file(folder), &text.to_string())
}
