//! Reports of the load generator, recorded from servers that answer in ways of their own.
//!
//! `RECORD_REPORTS=1 cargo test -p lab --test experiments` records them anew; on a quiet machine, since a generator that was
//! late makes a run invalid.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    sync::LazyLock,
    thread,
    time::Duration,
};

use loadgen::{Arrivals, Curve, Load, Plan, Report, RequestSpec, Target};

/// Good and fast; good, but few of them; good and late; half refused; all refused at once, by two statuses; all refused late, by another one.
pub(super) const NAMES: [&str; 7] = ["good", "few", "good-late", "half", "bad", "bad-gateway", "bad-late"];
/// Every name that an experiment gives to its requests.
const KINDS: [&str; 4] = ["hot", "cold", "get", "put"];
const LASTS: Duration = Duration::from_secs(3);
const LATE: Duration = Duration::from_millis(1_800);

static RECORDED: LazyLock<BTreeMap<&str, Report>> = LazyLock::new(|| {
    let read = |name: &'static str| {
        let text = fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
    };
    NAMES.into_iter().map(read).collect()
});

pub(super) fn report(name: &str) -> Report {
    RECORDED[name].clone()
}

fn file(name: &str) -> PathBuf {
    crate::folder("crates/lab/tests/experiments/reports").join(format!("{name}.json"))
}

pub(super) fn record() {
    fs::create_dir_all(file("good").parent().expect("a folder")).expect("a folder");
    thread::scope(|scope| {
        for name in NAMES {
            scope.spawn(move || {
                let mut report = measure(name);
                // Where it was recorded is of no interest.
                report.machine.host.clear();
                fs::write(file(name), serde_json::to_string(&report).expect("JSON") + "\n").expect("written");
            });
        }
    });
}

fn measure(name: &'static str) -> Report {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for (number, connection) in listener.incoming().flatten().enumerate() {
            thread::spawn(move || serve(&connection, name, number));
        }
    });
    let (target, _) = Target::parse(&url).expect("a URL");
    let addresses = target.reach(Duration::from_secs(2)).expect("it listens");
    let kind = |kind: &str| RequestSpec { name: Some(kind.to_owned()), ..RequestSpec::get("/") };
    let curve = Curve::constant(if name == "few" { 30.0 } else { 100.0 }, LASTS).expect("a rate");
    let load = Load::Open { curve, arrivals: Arrivals::Even, requests: None };
    let mut plan = Plan::new(target, KINDS.map(kind).to_vec(), load);
    plan.interval = Duration::from_millis(100);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let running = loadgen::start(plan, addresses).expect("it starts");
    runtime.block_on(running.report()).expect("a report")
}

/// Answers until the client goes away.
fn serve(connection: &TcpStream, name: &str, number: usize) {
    connection.set_nodelay(true).expect("an open socket");
    let mut lines = BufReader::new(connection).lines();
    let mut answered = number;
    let mut writer = connection;
    while let Some(Ok(line)) = lines.next() {
        if !line.is_empty() {
            continue;
        }
        answered += 1;
        let (status, wait) = match name {
            "good" | "few" => (200, Duration::ZERO),
            "good-late" => (200, LATE),
            "half" => (if answered.is_multiple_of(2) { 200 } else { 503 }, Duration::ZERO),
            "bad" => (503, Duration::ZERO),
            "bad-gateway" => (if answered.is_multiple_of(2) { 502 } else { 504 }, Duration::ZERO),
            _ => (504, LATE),
        };
        thread::sleep(wait);
        let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n");
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
