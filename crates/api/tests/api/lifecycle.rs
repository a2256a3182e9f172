//! Start, configuration, migration, health check, and the way out.

use std::{
    io::Write,
    net::TcpListener,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    http::{connect, get, read_to_end},
    replica::{Replica, api},
    servers::Servers,
};

/// Addresses on which nobody listens.
const NOBODY: [(&str, &str); 2] =
    [("DATABASE_URL", "postgres://app:s3cret@127.0.0.1:1/app"), ("REDIS_URL", "redis://:s3cret@127.0.0.1:1/0")];

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    api(arguments).envs(variables.iter().copied()).stderr(Stdio::piped()).output().expect("api runs")
}

#[test]
fn a_bad_configuration_names_every_fault_and_exits_64() {
    for verb in [&["serve"][..], &["migrate"], &["healthcheck"], &["config", "check"]] {
        let output = run(verb, &[("CACHE", "maybe"), ("REQUEST_TIMEOUT", "0ms"), ("REDIS_URL", "nowhere")]);
        assert_eq!(output.status.code(), Some(64), "{verb:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        for name in ["CACHE", "REQUEST_TIMEOUT", "REDIS_URL", "DATABASE_URL"] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
    }
}

#[test]
fn config_check_prints_the_effective_values_and_no_secret() {
    let output = run(&["config", "check"], &[NOBODY[0], NOBODY[1], ("PHASE", "3"), ("CACHE_FRESH", "5s")]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("s3cret"), "{text}");
    let value = |name: &str| {
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
        line.and_then(|line| line.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{name} in:\n{text}"))
    };
    assert_eq!((value("PHASE"), value("CACHE"), value("TIMEOUTS"), value("CACHE_FRESH")), ("3", "on", "off", "5s"));
}

#[test]
fn a_taken_port_is_a_failed_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = run(&["serve"], &[NOBODY[0], NOBODY[1], ("LISTEN_ADDR", &address)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("cannot listen on {address}")));
}

#[tokio::test]
async fn it_starts_stays_up_and_reports_itself_while_both_dependencies_are_away() {
    let mut command = api(&["serve"]);
    command.envs(NOBODY);
    let replica = Replica::start_with(command, &[], None);
    assert_eq!(get(&replica.url("/livez")).await.status.as_u16(), 200);
    assert_eq!(get(&replica.url("/readyz")).await.status.as_u16(), 200);
    replica.wait_for_log(|line| line["message"] == "dependency is down" && line["dependency"] == "postgres");
    let health = get(&replica.url("/health")).await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (503, &"fail".into()));
    assert_eq!(health.header("content-type"), "application/health+json");
    let answer = get(&replica.url("/data/1")).await;
    assert_eq!((answer.status.as_u16(), answer.problem_code()), (503, "database_unavailable"));
    assert_eq!(answer.body["dependency"], "postgres");
}

#[test]
fn migrations_that_run_at_once_do_no_harm() {
    let servers = Servers::shared();
    // The replicas' role cannot change tables.
    let variables = [("DATABASE_URL", servers.database_admin_url.as_str()), ("REDIS_URL", servers.redis_url.as_str())];
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..3).map(|_| scope.spawn(|| run(&["migrate"], &variables))).collect();
        for migrated in runs {
            assert_eq!(migrated.join().expect("ran").status.code(), Some(0));
        }
    });
}

#[test]
fn the_health_check_tells_ready_from_not_there() {
    let replica = Replica::start(&[]);
    let address = replica.address.to_string();
    let ask = || run(&["healthcheck"], &[NOBODY[0], NOBODY[1], ("LISTEN_ADDR", &address)]).status.code();
    assert_eq!(ask(), Some(0));
    drop(replica);
    assert_eq!(ask(), Some(1));
}

#[tokio::test]
async fn sigterm_drains_a_request_in_flight_and_exits_0() {
    let mut replica = Replica::start_connected(&[("BODY_TIMEOUT", "1m"), ("DRAIN_DELAY", "300ms")]);
    let mut slow = connect(replica.address);
    let body = r#"{"name":"drained","value":""}"#;
    let head = format!(
        "POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).expect("sent");
    let mut idle = connect(replica.address);

    replica.signal(Signal::TERM);
    replica.wait_for_log(|line| line["message"] == "not ready any more");
    let not_ready = get(&replica.url("/readyz")).await;
    assert_eq!((not_ready.problem_code(), not_ready.header("connection")), ("draining", "close"));
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200, "still served during the delay");

    replica.wait_for_log(|line| line["message"] == "draining");
    assert_eq!(read_to_end(&mut idle), "", "idle connections are closed");
    slow.write_all(body.as_bytes()).expect("sent");
    let answer = read_to_end(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 201 ") && answer.contains("connection: close"), "{answer}");
    assert_eq!(replica.wait().code(), Some(0));
}

#[test]
fn draining_has_an_end() {
    let mut replica = Replica::start(&[("BODY_TIMEOUT", "1m"), ("DRAIN_DELAY", "10ms"), ("DRAIN_TIMEOUT", "300ms")]);
    let mut stuck = connect(replica.address);
    stuck
        .write_all(b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n")
        .expect("sent");
    let start = Instant::now();
    replica.signal(Signal::TERM);
    assert_eq!(replica.wait().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut replica = Replica::start(&[("DRAIN_DELAY", "9s"), ("DRAIN_TIMEOUT", "1s")]);
    replica.signal(Signal::TERM);
    replica.wait_for_log(|line| line["message"] == "not ready any more");
    let start = Instant::now();
    replica.signal(Signal::INT);
    assert_eq!(replica.wait().code(), Some(1));
    assert!(start.elapsed() < Duration::from_secs(5), "took {:?}", start.elapsed());
}

#[test]
fn every_variable_is_documented() {
    let output = run(&["config", "check"], &NOBODY);
    let page = include_str!("../../../../docs/configuration.md");
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split_whitespace().next().expect("a name");
        assert!(page.contains(&format!("`{name}`")), "{name} is not in docs/configuration.md");
    }
}
