//! Monitoring of the stack: the distribution's Prometheus, and its exporters for nginx, Postgres and Redis.
//!
//! They are not part of the stack: no fault affects them, and a stack is complete without them. A program that is not
//! installed, or does not start, is reported and skipped. They write only in the folder `observe`; `lab down` stops
//! them with the rest, because it stops everything that was started in the state folder.

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    ProcessRecord,
    launch::Launch,
    ports::{Choice, Lease},
    postgres::Role,
    process_tree::ProcessTree,
    programs,
    redis::{self, User},
};
use crate::{
    HostEnvironment, Operation, StackError, Target,
    error::{Context, cannot},
    folder::{Folder, write_private},
    http,
};

mod configuration;
mod pace;

use pace::Pace;

/// Prometheus reads its data before it is ready; a lab's data is small.
const LONGEST_START: Duration = Duration::from_secs(30);
const PATIENCE: Duration = Duration::from_millis(500);

/// A monitoring program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Observer {
    NginxExporter,
    PostgresExporter,
    RedisExporter,
    Prometheus,
}

/// Prometheus last: the exporters run by then.
const ALL: [Observer; 4] =
    [Observer::NginxExporter, Observer::PostgresExporter, Observer::RedisExporter, Observer::Prometheus];

/// The port of each observer that was started.
type Ports = BTreeMap<Observer, u16>;

impl Observer {
    /// The name of its process and log, and in `lab status`.
    fn name(self) -> &'static str {
        match self {
            Self::NginxExporter => "nginx-exporter",
            Self::PostgresExporter => "postgres-exporter",
            Self::RedisExporter => "redis-exporter",
            Self::Prometheus => "prometheus",
        }
    }

    /// The program's names in distributions.
    fn programs(self) -> [&'static str; 2] {
        match self {
            Self::NginxExporter => ["prometheus-nginx-exporter", "nginx-prometheus-exporter"],
            Self::PostgresExporter => ["prometheus-postgres-exporter", "postgres_exporter"],
            Self::RedisExporter => ["prometheus-redis-exporter", "redis_exporter"],
            Self::Prometheus => ["prometheus", "prometheus2"],
        }
    }

    fn usual_port(self) -> u16 {
        match self {
            Self::NginxExporter => 9113,
            Self::PostgresExporter => 9187,
            Self::RedisExporter => 9121,
            Self::Prometheus => 9090,
        }
    }

    fn program(self, host: &HostEnvironment) -> Option<PathBuf> {
        self.programs().into_iter().find_map(|name| programs::find(host, name))
    }

    /// A path that is answered as soon as the program works.
    fn ready_path(self) -> &'static str {
        if self == Self::Prometheus { "/-/ready" } else { "/" }
    }
}

/// Starts all that is installed. Returns a line for each problem.
pub(super) fn start(
    folder: &Folder,
    record: &ProcessRecord,
    host: &HostEnvironment,
    operation: &Operation<'_>,
) -> Result<Vec<String>, StackError> {
    let found: Vec<(Observer, PathBuf)> =
        ALL.into_iter().filter_map(|observer| Some((observer, observer.program(host)?))).collect();
    let missing: Vec<&str> = ALL
        .into_iter()
        .filter(|observer| found.iter().all(|(there, _)| there != observer))
        .map(|observer| observer.programs()[0])
        .collect();
    if missing.contains(&"prometheus") {
        return Ok(vec![absent(host)]);
    }
    let mut notes = Vec::new();
    if !missing.is_empty() {
        notes.push(format!("{} not installed, so there are no metrics from inside those servers", missing.join(", ")));
    }
    run(folder, record, found, Pace::REAL, &mut notes, operation)?;
    Ok(notes)
}

/// Starts Prometheus alone, with rules for a day of this length and nothing that it remembers. Returns how the rules are
/// timed, or why nothing raises alerts.
pub(super) fn start_alerts(
    folder: &Folder,
    record: &ProcessRecord,
    host: &HostEnvironment,
    day: Duration,
    operation: &Operation<'_>,
) -> Result<Result<String, String>, StackError> {
    // A run that was killed may have left one.
    stop_alerts(folder)?;
    if ports(folder).contains_key(&Observer::Prometheus) {
        let text = "this stack has a Prometheus of its own, whose rules have the times of a real day";
        return Ok(Err(text.to_owned()));
    }
    let Some(program) = Observer::Prometheus.program(host) else { return Ok(Err(absent(host))) };
    fs::create_dir_all(home(folder)).context(|| cannot("create", home(folder)))?;
    write_private(&of_a_run(folder), "")?;
    let (pace, mut notes) = (Pace::of_day(day), Vec::new());
    let started = run(folder, record, vec![(Observer::Prometheus, program)], pace, &mut notes, operation);
    match started {
        Ok(()) if notes.is_empty() => Ok(Ok(pace.to_string())),
        Err(StackError::Interrupted) => Err(StackError::Interrupted),
        Ok(()) => Ok(Err(notes.join("; "))),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// Ends what [`start_alerts`] has started, with all that it remembers.
pub(super) fn stop_alerts(folder: &Folder) -> Result<(), StackError> {
    if !of_a_run(folder).exists() {
        return Ok(());
    }
    ProcessTree::find(folder, Observer::Prometheus.name())?.kill()?;
    let home = home(folder);
    fs::remove_dir_all(&home).context(|| cannot("remove", &home))
}

fn run(
    folder: &Folder,
    record: &ProcessRecord,
    programs: Vec<(Observer, PathBuf)>,
    pace: Pace,
    notes: &mut Vec<String>,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut ports = Ports::new();
    // Held until the servers have bound their ports, so that no other stack takes them.
    let mut leases: Vec<Lease> = Vec::new();
    for (observer, program) in programs {
        let lease = ports_of(record).lease(observer.usual_port())?;
        ports.insert(observer, lease.port);
        leases.push(lease);
        if observer == Observer::Prometheus {
            configuration::write(folder, record, &ports, pace)?;
        }
        match start_one(folder, record, observer, program, ports[&observer], operation) {
            Ok(()) => {}
            Err(error @ StackError::Interrupted) => return Err(error),
            Err(error) => {
                ports.remove(&observer);
                notes.push(format!("{} does not run: {error}", observer.name()));
            }
        }
    }
    let text = serde_json::to_string(&ports).map_err(std::io::Error::from).context(|| cannot("write", "ports"))?;
    write_private(&ports_file(folder), &text)
}

/// A stack with random ports has its observers on random ports too.
fn ports_of(record: &ProcessRecord) -> Choice {
    if record.port(Target::Nginx) >= 20_000 { Choice::Random } else { Choice::FromUsual }
}

fn absent(host: &HostEnvironment) -> String {
    let command = [("apt-get", "apt-get install --no-install-recommends"), ("dnf", "dnf install"), ("apk", "apk add")];
    let command = command.into_iter().find(|(manager, _)| programs::find(host, manager).is_some());
    let command = command.map_or_else(
        || "Install Prometheus".to_owned(),
        |(manager, command)| {
            let exporters = if manager == "apt-get" {
                " prometheus-nginx-exporter prometheus-postgres-exporter prometheus-redis-exporter"
            } else {
                ""
            };
            format!("Install it with `{command} prometheus{exporters}`")
        },
    );
    format!(
        "Prometheus is not installed, so the stack runs unobserved. {command}, then `lab down` and `lab up --observe`."
    )
}

fn start_one(
    folder: &Folder,
    record: &ProcessRecord,
    observer: Observer,
    program: PathBuf,
    port: u16,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let name = observer.name();
    operation.progress.begin(&format!("starting {name}"));
    let mut started = launch(folder, record, observer, program, port)?.start(folder)?;
    let url = format!("http://127.0.0.1:{port}{}", observer.ready_path());
    let ready = operation.interrupt.wait_for(LONGEST_START, || {
        if let Some(status) = started.ended()? {
            return Err(started.failure(name, format!("it ended ({status})")));
        }
        Ok(http::get(&url, PATIENCE).is_ok_and(|answer| answer.status == 200).then_some(()))
    });
    let ready = ready.and_then(|ready| ready.ok_or_else(|| started.failure(name, "it did not answer in time")));
    if ready.is_err() {
        ProcessTree::find(folder, name)?.kill()?;
        operation.progress.end("failed");
        return ready;
    }
    operation.progress.end(&format!("127.0.0.1:{port}"));
    Ok(())
}

fn launch(
    folder: &Folder,
    record: &ProcessRecord,
    observer: Observer,
    program: PathBuf,
    port: u16,
) -> Result<Launch, StackError> {
    let home = home(folder);
    fs::create_dir_all(&home).context(|| cannot("create", &home))?;
    let mut launch = Launch::new(observer.name(), program, &home);
    match observer {
        Observer::NginxExporter => {
            let status = format!("-nginx.scrape-uri={}/stub_status", record.url(Target::Nginx));
            launch = launch.arguments([format!("-web.listen-address=127.0.0.1:{port}"), status]);
        }
        Observer::PostgresExporter => {
            let uri = format!("127.0.0.1:{}/app?sslmode=disable&connect_timeout=1", record.port(Target::Postgres));
            launch.environment = vec![
                ("DATA_SOURCE_URI".to_owned(), uri),
                ("DATA_SOURCE_USER".to_owned(), "app".to_owned()),
                ("DATA_SOURCE_PASS_FILE".to_owned(), Role::App.password_file(folder).display().to_string()),
            ];
            launch =
                launch.arguments([&format!("--web.listen-address=127.0.0.1:{port}"), "--disable-settings-metrics"]);
        }
        Observer::RedisExporter => {
            // As the administrator: the replicas' user may not read most of what the exporter shows.
            let address = format!("127.0.0.1:{}", record.port(Target::Redis));
            let password = redis::password(folder, User::Admin)?;
            let passwords = serde_json::json!({ format!("redis://{}@{address}", User::Admin.name()): password });
            write_private(&home.join("redis.json"), &passwords.to_string())?;
            launch = launch.arguments([
                format!("-web.listen-address=127.0.0.1:{port}"),
                format!("-redis.addr=redis://{address}"),
                format!("-redis.user={}", User::Admin.name()),
                "-redis.password-file=redis.json".to_owned(),
            ]);
        }
        Observer::Prometheus => {
            launch = launch.arguments([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                // The longest window of the service level objectives is 30 days.
                "--storage.tsdb.retention.time=31d",
                "--storage.tsdb.retention.size=1GB",
                &format!("--web.listen-address=127.0.0.1:{port}"),
                "--log.level=warn",
            ]);
        }
    }
    Ok(launch)
}

/// Called after scaling. Prometheus rereads the file by itself.
pub(super) fn follow_replicas(folder: &Folder, record: &ProcessRecord) -> Result<(), StackError> {
    if ports(folder).is_empty() { Ok(()) } else { configuration::write_replicas(folder, record) }
}

/// Name and address of each running observer.
pub(super) fn addresses(folder: &Folder) -> Result<BTreeMap<String, String>, StackError> {
    let mut addresses = BTreeMap::new();
    for (observer, port) in ports(folder) {
        if ProcessTree::find(folder, observer.name())?.leader().is_some() {
            addresses.insert(observer.name().to_owned(), format!("http://127.0.0.1:{port}"));
        }
    }
    Ok(addresses)
}

/// Empty if monitoring was never requested.
fn ports(folder: &Folder) -> Ports {
    let text = fs::read_to_string(ports_file(folder)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn ports_file(folder: &Folder) -> PathBuf {
    home(folder).join("ports.json")
}

/// Tells a Prometheus that belongs to one run from the user's own.
fn of_a_run(folder: &Folder) -> PathBuf {
    home(folder).join("of-a-run")
}

fn home(folder: &Folder) -> PathBuf {
    folder.observe()
}
