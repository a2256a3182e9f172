//! Up, use, down.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use rustix::process::{Signal, geteuid};
use stack::Login;

use crate::support::{PATIENCE, Place, get, send, wait_for_answer, wait_until};

#[test]
fn three_replicas_answer_behind_nginx_and_down_leaves_nothing() {
    let place = Place::new();
    let printed = place.ok(&["up", "--detach", "--port", "0"]);
    let status = place.status();
    assert!(printed.contains(&status.base_url) && printed.contains("Try next:"), "{printed}");
    assert!(status.servers().all(|(.., server)| server.state.as_str() == "up"), "{status:?}");

    let asked = (0..30).map(|_| get(&format!("{}/data/1", status.base_url)));
    let (codes, instances): (BTreeSet<u16>, BTreeSet<String>) = asked.unzip();
    assert_eq!(codes, BTreeSet::from([200]));
    assert_eq!(instances, ["api-1", "api-2", "api-3"].map(str::to_owned).into());
    for replica in &status.replicas {
        assert_eq!(get(&format!("{}/data/1", replica.url)), (200, replica.name.to_string()));
    }

    assert!(!place.processes().is_empty());
    place.ok(&["down"]);
    place.assert_nothing_left();
    assert_eq!(get(&status.base_url).0, 0);
    assert!(place.ok(&["down"]).contains("no stack is running"));
}

#[test]
fn the_status_as_json_has_the_promised_keys() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    let json: serde_json::Value = serde_json::from_str(&place.ok(&["status", "--json"])).unwrap();
    assert_eq!(json["driver"], "process");
    assert_eq!(json["replicas"][0]["name"], "api-1");
    assert_eq!(json["replicas"][0]["state"], "up");
    assert!(json["replicas"][0]["url"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert!(json["replicas"][0]["pid"].is_u64());
    for dependency in ["postgres", "redis", "nginx"] {
        assert_eq!(json["dependencies"][dependency]["state"], "up");
    }
    assert!(json["base_url"].is_string() && json["observability"].is_object());

    place.ok(&["down"]);
    let gone = place.lab(&["status", "--json"]);
    assert_eq!(gone.code, Some(1));
    let json: serde_json::Value = serde_json::from_str(&gone.stdout).unwrap();
    assert_eq!(json["replicas"], serde_json::json!([]));
    assert!(gone.stderr.contains("no stack is running"), "{gone:?}");
}

#[test]
fn records_survive_down_and_up_and_lost_passwords_but_not_a_purge() {
    let place = Place::new();
    let url = place.up(&["--replicas", "1"]).base_url;
    let location = post(&url, r#"{"name":"survivor","value":"still here"}"#);
    place.ok(&["down"]);
    for role in ["app", "migrator", "postgres"] {
        fs::remove_file(place.folder().join(format!("postgres/{role}.password"))).unwrap();
    }
    let url = place.up(&["--replicas", "1"]).base_url;
    let found = stack::get(&format!("{url}{location}"), PATIENCE).unwrap();
    assert!(found.status == 200 && found.body.contains("still here"), "{found:?}");

    place.ok(&["down", "--purge"]);
    assert!(!place.folder().exists());
    let url = place.up(&["--replicas", "1"]).base_url;
    assert_eq!(get(&format!("{url}{location}")).0, 404);
}

#[test]
fn passwords_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    let passwords = [
        "postgres/app.password",
        "postgres/migrator.password",
        "postgres/postgres.password",
        "redis/admin.password",
        "redis/app.password",
    ];
    for secret in passwords.into_iter().chain(["redis/redis.conf", "state.json"]) {
        let mode = fs::metadata(place.folder().join(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{secret}: {mode:o}");
    }
    let passwords = passwords.map(|file| fs::read_to_string(place.folder().join(file)).unwrap());
    let is_told = |text: &str| passwords.iter().any(|password| text.contains(password));
    assert!(place.processes().iter().all(|command| !is_told(command)), "a password in a command line");
    for replica in place.status().replicas {
        let environment = fs::read(format!("/proc/{}/environ", replica.server.pid.unwrap())).unwrap();
        assert!(!is_told(&String::from_utf8_lossy(&environment)), "a password in an environment");
    }
}

#[test]
fn a_folder_closed_to_other_users_is_no_hindrance() {
    let place = Place::closed();
    let status = place.up(&["--replicas", "1"]);
    wait_for_answer(&format!("{}/data/1", status.base_url));
    let outside = fs::read_link(place.folder().join("outside"));
    // Only root starts Postgres as somebody else.
    assert_eq!(outside.is_ok(), geteuid().is_root(), "{outside:?}");
    place.ok(&["down", "--purge"]);
    place.assert_nothing_left();
    assert!(outside.is_err() || !outside.unwrap().exists());
}

#[test]
fn a_folder_with_an_odd_name_works() {
    for place in [Place::new(), Place::closed()] {
        let place = place.named("we ird; $PATH 'n\" {x} \\ ü");
        let status = place.up(&["--replicas", "1"]);
        wait_for_answer(&format!("{}/data/1", status.base_url));
        for fault in ["pause", "kill"] {
            place.ok(&["fault", fault, "postgres"]);
            place.ok(&["heal"]);
        }
        place.ok(&["down"]);
        place.assert_nothing_left();
    }
}

#[test]
fn scaling_up_and_down_fails_no_request() {
    let place = Place::new();
    let url = format!("{}/data/1", place.up(&["--replicas", "2"]).base_url);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut failed = Vec::new();
            let mut asked = 0;
            while !done.load(Ordering::Relaxed) {
                let (status, instance) = get(&url);
                asked += 1;
                if status != 200 {
                    failed.push((asked, status, instance));
                }
            }
            (asked, failed)
        });
        place.ok(&["scale", "4"]);
        let names: BTreeSet<String> = place.status().replicas.iter().map(|replica| replica.name.to_string()).collect();
        assert_eq!(names, ["api-1", "api-2", "api-3", "api-4"].map(str::to_owned).into());
        wait_until("an answer from api-4", || get(&url).1 == "api-4");
        place.ok(&["scale", "1"]);
        assert_eq!(place.status().replicas.len(), 1);
        done.store(true, Ordering::Relaxed);
        let (asked, failed) = client.join().unwrap();
        assert!(asked > 0 && failed.is_empty(), "{failed:?} of {asked}");
    });
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn the_foreground_tells_of_a_death_and_ctrl_c_stops_everything() {
    let place = Place::new();
    let mut lab = place.start(&["up", "--port", "0"]);
    lab.wait_for("Ctrl-C stops the stack");
    let status = place.status();
    send(status.replicas[1].server.pid.unwrap(), Signal::KILL);
    lab.wait_for("api-2 ended unexpectedly");
    assert_eq!(place.state("api-2"), "stopped");
    place.ok(&["fault", "kill", "api-3"]);
    assert_eq!(get(&format!("{}/data/1", status.base_url)), (200, "api-1".to_owned()));
    place.ok(&["heal"]);
    assert_eq!(place.state("api-2"), "up");

    lab.signal(Signal::INT);
    let outcome = lab.outcome();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(!outcome.stderr.contains("api-3 ended"), "a fault is no surprise: {outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn the_foreground_ends_when_the_stack_is_stopped_from_elsewhere() {
    let place = Place::new();
    let mut lab = place.start(&["up", "--port", "0", "--replicas", "1"]);
    lab.wait_for("Ctrl-C stops the stack");
    place.ok(&["down"]);
    let outcome = lab.outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(!outcome.stderr.contains("unexpectedly"), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn a_cpu_quota_is_given_or_its_absence_explained() {
    let place = Place::new();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--replicas", "2", "--cpus", "0.5"]);
    if outcome.code == Some(2) {
        assert!(outcome.stderr.contains("--cpus"), "{outcome:?}");
        return place.assert_nothing_left();
    }
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    for replica in place.status().replicas {
        let group = fs::read_to_string(format!("/proc/{}/cgroup", replica.server.pid.unwrap())).unwrap();
        assert!(group.lines().any(|line| line.ends_with(&format!("/{}", replica.name))), "{group}");
    }
}

#[test]
fn programs_get_addresses_and_passwords_that_work() {
    let place = Place::new();
    place.up(&["--replicas", "2"]);
    let stack = stack::Stack::connect(&place.folder()).unwrap();
    for (login, user) in [(Login::Postgres, "app"), (Login::PostgresAdmin, "postgres")] {
        let url = stack.url(login).unwrap();
        let psql = Command::new("psql").args(["-Atc", "SELECT current_user", &url]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&psql.stdout).trim(), user, "{psql:?}");
    }
    for (login, user) in [(Login::Redis, "app"), (Login::RedisAdmin, "admin")] {
        let url = stack.url(login).unwrap();
        let (credentials, address) = url.strip_prefix("redis://").unwrap().split_once('@').unwrap();
        let (name, password) = credentials.split_once(':').unwrap();
        let mut connection = TcpStream::connect(address.strip_suffix("/0").unwrap()).unwrap();
        write!(connection, "AUTH {name} {password}\r\nPING\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!((name, answer.as_str()), (user, "+OK\r\n+PONG\r\n+OK\r\n"));
    }
    let endpoints = stack.endpoints().unwrap();
    for replica in endpoints.replicas {
        let metrics = stack::get(&replica.metrics_url(), PATIENCE).unwrap();
        assert!(metrics.status == 200 && metrics.body.contains("# HELP"), "{metrics:?}");
        assert_eq!(get(&format!("{}/metrics", endpoints.base_url)).0, 403);
    }
}

/// Creates a record and returns its path.
fn post(base_url: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(base_url.strip_prefix("http://").unwrap()).unwrap();
    write!(
        stream,
        "POST /data HTTP/1.1\r\nHost: lab\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let line = answer.lines().find(|line| line.to_ascii_lowercase().starts_with("location:")).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}
