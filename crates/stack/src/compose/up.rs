//! Starting, scaling and stopping with `docker compose`.

use std::{fs, path::Path, time::Duration};

use serde_json::json;

use super::{ComposeRecord, await_up, docker::docker, observe};
use crate::{
    DriverKind, Operation, StackError, State, Topology, UpOptions,
    folder::{Folder, write_private},
    http,
    record::{Record, Stage},
    supervise::{
        launch::Launch,
        ports::{Choice, Lease, lease_exactly},
        stop::stop_all,
        task,
    },
};

/// Enough to pull images over a slow connection, or to compile the API's.
const LONGEST_UP: Duration = Duration::from_secs(1800);
const LONGEST_DOWN: Duration = Duration::from_secs(180);
const LONGEST_READY: Duration = Duration::from_secs(60);

/// The name of the `docker compose` process in the folder, and of its log.
const TASK: &str = "compose";

/// The label that names the owner of a volume.
const OWNER: &str = "phase-observation.state-folder";

pub(super) fn up(
    folder: &Folder,
    options: &UpOptions,
    repair: &dyn Fn(&ComposeRecord) -> Result<(), StackError>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let (part, lease) = plan(folder, options, operation)?;
    refuse_what_is_not_ours(folder, &part)?;
    let record = Record::new(DriverKind::Compose, options.host.agent.clone(), &part)?;
    record.save(folder)?;
    drop(lease);
    let outcome =
        bring_up(folder, &part, repair, operation).and_then(|()| record.clone().at(Stage::Running).save(folder));
    if outcome.is_err() {
        operation.progress.note("stopping what was started");
        stop(folder, &record, false, operation)?;
    }
    outcome
}

/// The project's name is derived from the path of the state folder, so no other project has it by chance. Containers
/// and volumes that have it anyway are not touched.
fn refuse_what_is_not_ours(folder: &Folder, record: &ComposeRecord) -> Result<(), StackError> {
    let name = &record.name;
    if let Some((target, _)) = record.containers()?.iter().find(|(_, found)| found.state() != State::Stopped) {
        return Err(StackError::Conflict(format!(
            "{target} of the compose project {name} is running already, but was not started from this state folder; \
             stop it where it was started, or with `docker compose --project-name {name} down`",
        )));
    }
    let ours = volumes(record, Some(folder))?;
    if let Some(stranger) = volumes(record, None)?.iter().find(|volume| !ours.contains(volume)) {
        return Err(StackError::Conflict(format!(
            "the volume {stranger} was not made by this stack; rename it or remove it with `docker volume rm {stranger}`"
        )));
    }
    Ok(())
}

/// The project's volumes; with a folder, only those that a stack of that folder created.
fn volumes(record: &ComposeRecord, owner: Option<&Folder>) -> Result<Vec<String>, StackError> {
    let project = format!("label=com.docker.compose.project={}", record.name);
    let mut words = vec!["volume".to_owned(), "ls".to_owned(), "--quiet".to_owned(), "--filter".to_owned(), project];
    if let Some(folder) = owner {
        words.extend(["--filter".to_owned(), format!("label={OWNER}={}", folder.root().display())]);
    }
    Ok(docker(&words)?.lines().map(str::to_owned).collect())
}

fn plan(folder: &Folder, options: &UpOptions, operation: &Operation<'_>) -> Result<(ComposeRecord, Lease), StackError> {
    let mut record = ComposeRecord {
        project: options.project.clone(),
        // Never the name that a manual `docker compose up` uses.
        name: format!("phase-observation-{}", folder.tag()),
        env_files: env_files(options.project.root()),
        host: String::new(),
        port: options.port.unwrap_or_default(),
        topology: Topology::from(options),
        prometheus_port: None,
        volumes: Vec::new(),
    };
    write_override(folder, &record)?;
    let configuration = configuration(folder, &record)?;
    record.volumes = configuration["volumes"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    write_override(folder, &record)?;
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

fn bring_up(
    folder: &Folder,
    record: &ComposeRecord,
    repair: &dyn Fn(&ComposeRecord) -> Result<(), StackError>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    operation.progress.begin("docker compose up");
    if folder.faults().exists() {
        run(folder, record, &["up", "--detach", "--wait", "postgres"], LONGEST_UP, operation)?;
        repair(record)?;
    }
    run(folder, record, &["up", "--detach", "--remove-orphans"], LONGEST_UP, operation)?;
    operation.progress.end("done");
    operation.progress.begin("waiting for an answer through nginx");
    await_answer(record, operation)?;
    // Waits for the engine's health checks too, so that `status` agrees.
    for (target, _) in record.containers()? {
        await_up(record, target, operation)?;
    }
    operation.progress.end(&record.base_url());
    Ok(())
}

/// Creates missing replicas and removes surplus ones. Affects only replicas: a dependency that is stopped for an
/// experiment stays stopped.
pub(super) fn follow_topology(
    folder: &Folder,
    record: &ComposeRecord,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    write_override(folder, record)?;
    run(folder, record, &["up", "--detach", "--no-recreate", "--no-deps", "api"], LONGEST_UP, operation)
}

/// Creates missing containers, and does not touch existing ones.
pub(super) fn recreate_missing(
    folder: &Folder,
    record: &ComposeRecord,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    run(folder, record, &["up", "--detach", "--no-recreate"], LONGEST_UP, operation)
}

/// Stops and removes all containers and networks, and with `purge` the data that this stack created. True if there was
/// anything to stop.
pub(super) fn stop(
    folder: &Folder,
    record: &Record,
    purge: bool,
    operation: &Operation<'_>,
) -> Result<bool, StackError> {
    let part: ComposeRecord = record.part(folder)?;
    let ran = record.stage != Stage::Stopped;
    if !ran && !purge {
        return Ok(false);
    }
    record.clone().at(Stage::Stopping).save(folder)?;
    // Stop a `docker compose up` that outlived its lab too: otherwise it continues to start what is stopped here.
    stop_all(folder, operation)?;
    operation.progress.begin("docker compose down");
    // With the profile, because compose does not stop services of other profiles.
    let words = ["--profile", observe::PROFILE, "down", "--remove-orphans"];
    // Not ended by the interrupt that may have caused it.
    let cleaning = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    run(folder, &part, &words, LONGEST_DOWN, &cleaning)?;
    if purge {
        let ours = volumes(&part, Some(folder))?;
        if !ours.is_empty() {
            let words = ["volume".to_owned(), "rm".to_owned()];
            docker(&[&words[..], &ours[..]].concat())?;
        }
    }
    operation.progress.end("done");
    if purge {
        Record::remove(folder)?;
    } else {
        record.clone().at(Stage::Stopped).save(folder)?;
    }
    Ok(ran)
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

/// `docker compose` for this stack: the project's file, and an override file with the options of `lab up`.
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
    task::run(folder, &launch, limit, operation)
}

fn arguments(folder: &Folder, record: &ComposeRecord) -> Vec<String> {
    let mut words = vec!["compose".to_owned()];
    words.extend(["--project-name".to_owned(), record.name.clone()]);
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
    // Here the lab itself generates the load.
    ports.chain([("CLIENT_LIMITS".to_owned(), "off".to_owned())]).collect()
}

fn configuration(folder: &Folder, record: &ComposeRecord) -> Result<serde_json::Value, StackError> {
    let mut words = arguments(folder, record);
    words.extend(["config", "--format", "json"].map(str::to_owned));
    let text = docker(&words)?;
    serde_json::from_str(&text).map_err(|error| StackError::Command {
        command: "docker compose config".to_owned(),
        detail: format!("cannot parse its output: {error}"),
    })
}

/// The user's own variables, if there are any. They are named because compose does not look for them when another file
/// is given.
fn env_files(root: &Path) -> Vec<std::path::PathBuf> {
    let own = root.join(".env");
    if own.is_file() { vec![own] } else { Vec::new() }
}

/// Uses the images that `make images` built if an official image is missing.
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
    operation.progress.note("the official images are missing; using the ones that `make images` built");
    record.env_files.push(file);
    self::configuration(folder, record).map(drop)
}

fn all_here(images: &[&str]) -> bool {
    docker(&[&["image", "inspect", "--format", "{{.Id}}"], images].concat()).is_ok()
}

fn override_file(folder: &Folder) -> std::path::PathBuf {
    folder.root().join("compose.json")
}

/// The options of `lab up` as a compose file; JSON is YAML.
fn write_override(folder: &Folder, record: &ComposeRecord) -> Result<(), StackError> {
    let mut environment: serde_json::Map<String, serde_json::Value> = serde_json::Map::new();
    if let Some(phase) = record.topology.phase {
        environment.insert("PHASE".to_owned(), phase.to_string().into());
    }
    // Compose reads `$` as the start of a variable.
    let literal = |value: &String| serde_json::Value::from(value.replace('$', "$$"));
    environment.extend(record.topology.env.iter().map(|(name, value)| (name.clone(), literal(value))));
    let mut deploy = json!({ "replicas": record.topology.replicas });
    if let Some(cpus) = record.topology.cpus {
        deploy["resources"]["limits"]["cpus"] = cpus.to_string().into();
    }
    // The lab connects to servers and replicas from this machine, which the compose file does not allow by default.
    let reachable = json!({ "driver_opts": { "com.docker.network.bridge.inhibit_ipv4": "false" } });
    let owner = json!({ "labels": { OWNER: folder.root().display().to_string().replace('$', "$$") } });
    let volumes: serde_json::Map<String, serde_json::Value> =
        record.volumes.iter().map(|name| (name.clone(), owner.clone())).collect();
    let text = json!({
        "services": { "api": { "environment": environment, "deploy": deploy } },
        "networks": { "edge": reachable, "data": reachable },
        "volumes": volumes,
    });
    write_private(&override_file(folder), &text.to_string())
}
