//! `lab up --observe`: the distribution's Prometheus over the real stack, an alert from its first second to its end.
//!
//! And every query of every Grafana dashboard, over the load and the fault that this Prometheus watched.
//!
//! Where Prometheus is not installed the same command has to say so and run the stack, and that is what is tested there.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lab::journal::Journal;

use crate::support::{PATIENCE, Place};

struct Prometheus(String);

/// For the query part of a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

impl Prometheus {
    /// By HTTP/1.0: an answer of any size comes in one piece.
    fn ask(&self, path: &str) -> serde_json::Value {
        let mut connection = TcpStream::connect(self.0.trim_start_matches("http://")).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 "), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// The series of an instant query, as the text of their labels and value.
    fn query(&self, query: &str) -> Vec<serde_json::Value> {
        let answer = self.ask(&format!("/api/v1/query?query={}", encoded(query)));
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// How many values a query has over a time, without those that are no number.
    fn query_range(&self, query: &str, from: u64, to: u64) -> usize {
        let answer = self.ask(&format!("/api/v1/query_range?query={}&start={from}&end={to}&step=1", encoded(query)));
        let series = answer["data"]["result"].as_array().unwrap();
        series.iter().flat_map(|series| series["values"].as_array().unwrap()).filter(|value| value[1] != "NaN").count()
    }

    /// Waits until a query has so many series.
    fn wait_for(&self, query: &str, series: usize) {
        let end = Instant::now() + PATIENCE;
        while self.query(query).len() != series {
            assert!(Instant::now() < end, "{query} has no {series} series: {:?}", self.query(query));
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Reads, of known and unknown ids and of paths that do not exist, until it is stopped.
struct Load {
    stopping: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Load {
    fn start(base_url: String) -> Self {
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let thread = thread::spawn(move || {
            let mut id = 1_000_000;
            while !stop.load(Ordering::Relaxed) {
                id += 1;
                for path in ["/data/1", "/data/2", "/data?limit=5", &format!("/data/{id}"), "/nowhere"] {
                    // Any answer will do, and none too: a fault is part of it.
                    let _ = stack::get(&format!("{base_url}{path}"), Duration::from_secs(3));
                }
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { stopping, thread }
    }

    fn stop(self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// As Grafana would ask: over the time of the run, with a replica chosen.
fn every_panel_shows_something(prometheus: &Prometheus, begin: SystemTime) {
    let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Up to the next whole second, which may have the first value of a slow rule.
    let (from, to) = (seconds(begin), seconds(SystemTime::now()) + 1);
    let dashboards = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/grafana/dashboards");
    let mut queries = 0;
    for file in fs::read_dir(dashboards).unwrap().flatten() {
        let board: serde_json::Value = serde_json::from_str(&fs::read_to_string(file.path()).unwrap()).unwrap();
        assert!(board["templating"]["list"].as_array().map_or(0, Vec::len) <= 1, "more variables: {:?}", file.path());
        for panel in board["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().into_iter().flatten() {
                let query = target["expr"].as_str().unwrap().replace("$instance", "api-2");
                let found = prometheus.query_range(&query, from, to);
                assert!(found > 0, "{:?}, panel {}: {query} shows nothing", file.file_name(), panel["title"]);
                queries += 1;
            }
        }
    }
    assert!(queries > 40, "only {queries} queries in the dashboards");
}

fn is_installed() -> bool {
    ["/usr/bin/prometheus", "/usr/local/bin/prometheus", "/usr/sbin/prometheus"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn a_stopped_postgres_is_an_alert_pending_then_firing_then_resolved() {
    let place = Place::new();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--observe", "--env", "CACHE_FRESH=1s"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let status = place.status();
    if !is_installed() {
        assert!(outcome.stderr.contains("Prometheus is not installed"), "{outcome:?}");
        assert!(status.observability.is_empty() && status.replicas.len() == 3, "{status:?}");
        return;
    }
    let begin = SystemTime::now();
    let prometheus = Prometheus(status.observability["prometheus"].clone());
    let alert =
        |state: &str| format!("ALERTS{{alertname=\"DependencyDown\",dependency=\"postgres\",alertstate=\"{state}\"}}");

    // Every replica under its own name, and every job.
    prometheus.wait_for("sum by (instance) (rate(http_requests_total[30s]))", 3);
    prometheus.wait_for("up{job=\"api\",instance=~\"api-[123]\"} == 1", 3);
    let jobs = 1 + status.observability.len();
    prometheus.wait_for("count by (job) (up == 1)", jobs);
    // What there was while it looked for the replicas is over.
    prometheus.wait_for("ALERTS", 0);

    // Records grow old quickly, so that an outage is answered from old entries; others are not in the cache at all.
    let load = Load::start(status.base_url.clone());
    prometheus.wait_for("job:data_requests:rate30s > 0", 1);
    place.ok(&["fault", "stop", "postgres"]);
    prometheus.wait_for(&alert("pending"), 1);
    prometheus.wait_for(&alert("firing"), 1);
    place.ok(&["heal"]);
    prometheus.wait_for(&alert("firing"), 0);
    // It went through all three, in this order, and is over.
    let seen = prometheus.query(&format!("count_over_time({}[5m])", alert("pending")));
    assert_eq!(seen.len(), 1, "it was pending before it fired");

    prometheus.wait_for("slo:budget_remaining", 2);
    load.stop();
    every_panel_shows_something(&prometheus, begin);

    // A new replica is found, one that is gone is forgotten.
    place.ok(&["scale", "4"]);
    prometheus.wait_for("up{job=\"api\",instance=\"api-4\"} == 1", 1);
    place.ok(&["scale", "2"]);
    prometheus.wait_for("up{job=\"api\"}", 2);

    place.ok(&["down"]);
    assert!(stack::get(&prometheus.0, Duration::from_secs(1)).is_err(), "Prometheus went with the stack");
}

/// Redis hangs for long enough to be an alert of a day of 48 s.
const ALERTING: &str = r#"
[about]
name = "alerting"
question = "Redis hangs: does an alert fire, and end?"

[[arm]]
name = "with"
stack = { replicas = 1 }
alerts = { day = "48s" }
load = { pace = { rate = 20.0 }, lasts = "7s", ids = [1, 100], request = [{ path = "/data/{id}" }] }
step = [
    { at = "1s", do = { fault = { target = "redis", kind = "pause" } } },
    { at = "4s", do = { heal = "all" } },
]

[[hypothesis]]
says = "it is there"
arm = "with"
measure = "price-per-month"
at_most = 760
"#;

#[test]
fn alerts_of_a_run_are_in_its_journal_and_its_prometheus_is_gone_afterwards() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    let (file, out) = (place.beside("alerting.toml"), place.beside("out"));
    fs::write(&file, ALERTING).unwrap();
    // The verdict is not what this is about: a busy machine may make it invalid.
    let ended = place.lab(&["run", &file.display().to_string(), "--out", &out.display().to_string()]);
    let run = fs::read_dir(out.join("alerting")).unwrap().next().expect("a run").unwrap().path();
    let journal = Journal::read(&run.join("journal.ndjson")).unwrap();
    let arm = &journal.run().unwrap().arms[0];
    let [note] = arm.notes[..] else { panic!("{:?} {ended:?}", arm.notes) };
    if !is_installed() {
        assert!(note.contains("Prometheus is not installed"), "{note}");
        return;
    }
    assert!(note.contains("`for: 5s` means 200 ms"), "{note}");
    let down = |wanted: &str| {
        let mut changes =
            arm.alerts.iter().filter(|(_, name, state)| *name == "DependencyDown redis" && *state == wanted);
        changes.next().unwrap_or_else(|| panic!("never {wanted}: {:?}", arm.alerts)).0
    };
    let [effect, healed] = ["effect", "undone"].map(|mark| arm.marks.get(mark).unwrap());
    assert!(effect < down("firing") && down("firing") < healed && healed < down("resolved"), "{:?}", arm.alerts);
    assert!(fs::read_to_string(run.join("postmortem.md")).unwrap().contains("alert DependencyDown redis after"));
    assert!(place.status().observability.is_empty());
}

/// The one-liner of docs/observability.md, as a program: every line of one request, over nginx and all replicas.
#[test]
fn one_request_is_found_in_the_logs_of_nginx_and_its_replica_by_its_trace() {
    let place = Place::new();
    let status = place.up(&[]);
    let answer = stack::get(&format!("{}/data/1", status.base_url), PATIENCE).unwrap();
    let trace = answer.header("traceparent").unwrap().split('-').nth(1).unwrap().to_owned();
    let instance = answer.header("x-instance").unwrap().to_owned();
    assert_eq!((answer.status, trace.len()), (200, 32));
    let logged = |log: &str| {
        let end = Instant::now() + PATIENCE;
        loop {
            let text = fs::read_to_string(place.folder().join("logs").join(format!("{log}.log"))).unwrap();
            if let Some(line) = text.lines().find(|line| line.contains(&trace)) {
                return serde_json::from_str::<serde_json::Value>(line).unwrap();
            }
            assert!(Instant::now() < end, "{trace} is not in {log}.log: {text}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    for (log, target) in [("nginx-access", "nginx"), (instance.as_str(), "access")] {
        let line = logged(log);
        assert_eq!((line["trace_id"].as_str(), line["target"].as_str()), (Some(trace.as_str()), Some(target)));
        assert_eq!(line["instance"], instance, "{line}");
    }
}
