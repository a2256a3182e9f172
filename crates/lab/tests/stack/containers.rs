//! The compose driver: the same commands, with containers behind them. One test at a time, since a machine's engine is
//! one thing: each test is a whole story.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;

use crate::support::{Place, get, wait_for_answer, wait_until};

/// A stack under a project name of its own.
fn place(name: &str) -> Place {
    let place = Place::new().variable("COMPOSE_PROJECT_NAME", &project(name));
    assert_eq!(containers(name), "", "left from an earlier run");
    place
}

fn project(name: &str) -> String {
    format!("phase-observation-test-{name}")
}

/// All containers and volumes of the project.
fn containers(name: &str) -> String {
    let label = format!("label=com.docker.compose.project={}", project(name));
    let ask = |words: &[&str]| {
        let output = Command::new("docker").args(words).args(["--filter", &label]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    ask(&["ps", "--all", "--quiet"]) + &ask(&["volume", "ls", "--quiet"]) + &ask(&["network", "ls", "--quiet"])
}

/// What `down` leaves: the records, and the passwords that belong to them.
const VOLUMES: [&str; 6] =
    ["postgres-data", "postgres-socket", "secrets-api", "secrets-migrate", "secrets-postgres", "secrets-redis"];

const UP: [&str; 6] = ["up", "--driver", "compose", "--detach", "--port", "0"];

#[test]
fn the_same_commands_work_on_containers() {
    let place = place("whole");
    place.ok(&UP);
    let status = place.status();
    let url = format!("{}/data/1", status.base_url);
    let instances: BTreeSet<String> = (0..30).map(|_| get(&url).1).collect();
    let containers_now: BTreeSet<String> =
        status.replicas.iter().map(|replica| replica.server.container.clone().unwrap()).collect();
    assert_eq!(instances, containers_now);
    assert_eq!(instances.len(), 3);
    let json: serde_json::Value = serde_json::from_str(&place.ok(&["status", "--json"])).unwrap();
    assert!(json["driver"] == "compose" && json["replicas"][0]["container"].is_string(), "{json}");
    assert!(status.servers().all(|(.., server)| server.state.as_str() == "up"), "{status:?}");

    let endpoints = stack::Stack::connect(&place.folder()).unwrap().endpoints().unwrap();
    for (url, user) in [(endpoints.postgres_url, "app"), (endpoints.postgres_admin_url, "observer")] {
        let psql = Command::new("psql").args(["-Atc", "SELECT current_user", &url.unwrap()]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&psql.stdout).trim(), user, "{psql:?}");
    }
    for (url, user) in [(endpoints.redis_url, "app"), (endpoints.redis_admin_url, "admin")] {
        let url = url.unwrap();
        let (credentials, address) = url.strip_prefix("redis://").unwrap().split_once('@').unwrap();
        let (name, password) = credentials.split_once(':').unwrap();
        let mut connection = TcpStream::connect(address.strip_suffix("/0").unwrap()).unwrap();
        write!(connection, "AUTH {name} {password}\r\nPING\r\nQUIT\r\n").unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert_eq!((name, answer.as_str()), (user, "+OK\r\n+PONG\r\n+OK\r\n"));
    }
    for replica in endpoints.replicas {
        assert_eq!(get(&format!("{}/readyz", replica.url)).0, 200);
    }

    let again = place.lab(&UP);
    assert!(again.code == Some(2) && again.stderr.contains("already running"), "{again:?}");

    for target in ["postgres", "redis", "nginx", "api-2"] {
        for (fault, state) in [("pause", "paused"), ("stop", "stopped")] {
            place.ok(&["fault", fault, target]);
            assert_eq!(place.state(target), state, "{fault} {target}");
            assert!(place.ok(&["heal"]).contains(target));
            assert_eq!(place.state(target), "up", "{fault} {target}");
        }
        let before = place.status();
        place.ok(&["fault", "kill", target]);
        place.ok(&["heal"]);
        let container = |status: &stack::Status| {
            let name = target.parse().unwrap();
            status.servers().find(|(found, ..)| *found == name).map(|(.., server)| server.container.clone()).unwrap()
        };
        assert_eq!(container(&place.status()), container(&before), "restarted, not replaced");
    }
    assert!(place.ok(&["heal"]).contains("nothing to heal"));

    place.ok(&["fault", "cut", "redis"]);
    wait_for_answer(&url);
    place.ok(&["fault", "cut", "nginx"]);
    assert_eq!(get(&url).0, 0);
    let healed = place.ok(&["heal"]);
    assert!(healed.contains("redis: connected again") && healed.contains("nginx: connected again"), "{healed}");
    wait_for_answer(&url);

    place.ok(&["scale", "5"]);
    wait_until("five instances", || (0..30).map(|_| get(&url).1).collect::<BTreeSet<_>>().len() == 5);
    place.ok(&["scale", "2"]);
    assert_eq!(place.status().replicas.len(), 2);

    place.ok(&["down"]);
    let gone = place.lab(&["status"]);
    assert!(gone.code == Some(1) && gone.stderr.contains("no stack is running"), "{gone:?}");
    assert!(containers("whole").contains("postgres-data"), "the records stay");
    assert!(place.ok(&["down"]).contains("no stack is running"));
    place.ok(&["down", "--purge"]);
    assert_eq!(containers("whole"), "");
}

#[test]
fn an_interrupted_or_killed_start_leaves_nothing_after_down() {
    let name = "cut-short";
    let place = place(name);
    for (moment, signal) in [(300, Signal::INT), (3000, Signal::TERM), (1500, Signal::KILL), (4500, Signal::KILL)] {
        let lab = place.start(&UP);
        thread::sleep(Duration::from_millis(moment));
        lab.signal(signal);
        let outcome = lab.outcome();
        assert_eq!(outcome.code, (signal != Signal::KILL).then_some(130), "{outcome:?}");
        if signal == Signal::KILL {
            place.ok(&["down"]);
        }
        let left = containers(name);
        assert!(left.lines().all(|line| VOLUMES.iter().any(|volume| line.ends_with(volume))), "{left}");
        place.assert_nothing_left();
    }
    place.ok(&["down", "--purge"]);
    assert_eq!(containers(name), "");
}

#[test]
fn a_stack_that_lab_did_not_start_and_a_taken_port_are_refused() {
    let place = place("refused");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let outcome = place.lab(&["up", "--driver", "compose", "--detach", "--port", &port]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains(&format!("pid {}", std::process::id())), "{outcome:?}");

    place.ok(&UP);
    let other = Place::new().variable("COMPOSE_PROJECT_NAME", &project("refused"));
    let outcome = other.lab(&UP);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("is running already"), "{outcome:?}");
    wait_for_answer(&format!("{}/data/1", place.status().base_url));
    place.ok(&["down", "--purge"]);
    assert_eq!(containers("refused"), "");
}
