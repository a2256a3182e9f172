//! Start, configuration, migration, health check, and shutdown.

use std::{
    ffi::OsStr,
    io::Write,
    net::TcpListener,
    os::unix::ffi::OsStrExt,
    path::Path,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use sqlx::raw_sql;

use crate::{
    http::{connect, get, get_until, read_to_end},
    replica::{PATIENCE, Replica, api},
    servers::Servers,
};

/// Addresses that refuse connections.
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
fn secrets_come_from_files_and_what_is_no_text_is_a_fault() {
    let folder = tempfile::tempdir().expect("a folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "p/w#s3cret\n").expect("written");
    let url = ("REDIS_URL", "redis://app@127.0.0.1:1/0");
    let check = |password: &Path| {
        let mut command = api(&["config", "check"]);
        command.envs([NOBODY[0], url]).env("REDIS_PASSWORD_FILE", password);
        command.output().expect("api runs")
    };
    let output = check(&password);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text.contains("redis://app:[hidden]@127.0.0.1:1/0") && !text.contains("s3cret"), "{text}");

    let missing = folder.path().join("missing");
    let output = check(&missing);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(text.contains(missing.to_str().expect("ASCII")) && text.contains("No such file"), "{text}");

    let mut command = api(&["config", "check"]);
    let output = command.env("DATABASE_URL", OsStr::from_bytes(b"postgres://a:s3cret\xff@h/d")).envs([url]).output();
    let output = output.expect("api runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(
        text.contains("1 fault") && text.contains("DATABASE_URL: is not UTF-8") && !text.contains("s3cret"),
        "{text}"
    );
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
    assert!(["1", "2", "3"].contains(&health.header("retry-after")), "{health:?}");
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

/// Its connection was cut at the end of the drain time-out; its write must still reach the cache.
#[tokio::test]
async fn a_write_under_way_is_finished_and_told_to_the_cache_before_the_end() {
    let servers = Servers::alone();
    let variables = [
        ("DB_LOCK_TIMEOUT", "5s"),
        ("DB_STATEMENT_TIMEOUT", "5s"),
        ("REQUEST_TIMEOUT", "6s"),
        ("WRITE_WINDOW", "6s"),
        ("DRAIN_DELAY", "10ms"),
        ("DRAIN_TIMEOUT", "50ms"),
    ];
    let mut ending = Replica::start_on(&servers, &variables);
    let other = Replica::start_on(&servers, &[]);
    let url = other.url("/data/1");
    get_until(&url, |read| read.cache_status().starts_with("redis; hit")).await;
    let mut admin = servers.admin().await;
    raw_sql("BEGIN; SELECT 1 FROM records WHERE id = 1 FOR UPDATE").execute(&mut admin).await.expect("held");
    let body = r#"{"name":"n","value":"finished"}"#;
    let mut client = connect(ending.address);
    let head = "PUT /data/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length:";
    client.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).expect("sent");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
    let mut watch = servers.admin().await;
    let give_up = Instant::now() + PATIENCE;
    while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watch).await.expect("counted") == 0 {
        assert!(Instant::now() < give_up, "it never waits for the row");
    }
    ending.signal(Signal::TERM);
    ending.wait_for_log(|line| line["message"] == "connections cut after the drain time-out");
    raw_sql("COMMIT").execute(&mut admin).await.expect("released");
    assert_eq!(ending.wait().code(), Some(0));
    let read = get(&url).await;
    assert_eq!(read.body["value"], "finished", "{read:?}");
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
