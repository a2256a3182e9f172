//! The compose driver: the same commands, with containers behind them. One test at a time, since a machine's engine is
//! one thing: each test is a whole story.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::ffi::OsStrExt,
    process::Command,
    thread,
    time::Duration,
};

use rustix::process::Signal;
use stack::Login;

use crate::support::{Place, get, wait_for_answer, wait_until};

/// A folder whose project is not there yet. Its name is made of the folder's place, so every test has its own.
fn place() -> Place {
    // By hand, one would give all of them the same name.
    let place = Place::new().variable("COMPOSE_PROJECT_NAME", "phase-observation");
    assert_eq!(containers(&place), "", "left from an earlier run");
    place
}

fn project(place: &Place) -> String {
    let parent = place.folder().parent().unwrap().canonicalize().unwrap();
    let folder = parent.join(place.folder().file_name().unwrap());
    let hash = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    format!("phase-observation-{:08x}", folder.as_os_str().as_bytes().iter().fold(0x811c_9dc5, hash))
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All containers, volumes and networks of the project.
fn containers(place: &Place) -> String {
    let label = format!("label=com.docker.compose.project={}", project(place));
    let ask = |words: &[&str]| docker(&[words, &["--filter", &label]].concat());
    ask(&["ps", "--all", "--quiet"]) + &ask(&["volume", "ls", "--quiet"]) + &ask(&["network", "ls", "--quiet"])
}

/// What `down` leaves: the records, and the passwords that belong to them.
const VOLUMES: [&str; 6] =
    ["postgres-data", "postgres-socket", "secrets-api", "secrets-migrate", "secrets-postgres", "secrets-redis"];

const UP: [&str; 6] = ["up", "--driver", "compose", "--detach", "--port", "0"];

#[test]
fn the_same_commands_work_on_containers() {
    let place = place();
    place.ok(&[&UP[..], &["--env", "LAB_FAULTS=on"]].concat());
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

    let stack = stack::Stack::connect(&place.folder()).unwrap();
    for (login, user) in [(Login::Postgres, "app"), (Login::PostgresAdmin, "observer")] {
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
    for replica in stack.endpoints().unwrap().replicas {
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

    // Its answers come late through a proxy in Redis' own network, and only as long as the fault lasts.
    let redis_ms = || {
        let answer = stack::get(&url, Duration::from_secs(2)).ok()?;
        let timing = answer.header("server-timing")?.split("redis;dur=").nth(1)?.to_owned();
        timing.split(',').next()?.parse::<f64>().ok()
    };
    for _ in 0..2 {
        place.ok(&["fault", "slow", "redis", "--latency", "30ms"]);
        wait_until("late answers", || redis_ms().is_some_and(|ms| ms >= 30.0));
        place.ok(&["heal"]);
        wait_until("prompt answers", || redis_ms().is_some_and(|ms| ms < 15.0));
        // With its container the proxy goes, and comes again with the next fault.
        place.ok(&["fault", "kill", "redis"]);
        place.ok(&["heal"]);
    }
    for (fault, evidence) in [("half-open", "nothing is answered"), ("reset", "are reset")] {
        assert!(place.ok(&["fault", fault, "postgres"]).contains(evidence), "{fault}");
        place.ok(&["heal"]);
        wait_for_answer(&url);
    }
    assert!(place.ok(&["fault", "full-disk", "postgres"]).contains("53100"));
    assert!(place.ok(&["heal"]).contains("room as before"));

    let restarted = |target: &str| {
        let id = place.status().servers().find(|(name, ..)| name.to_string() == target).unwrap().2.container.clone();
        docker(&["inspect", "--format", "{{.RestartCount}}", &id.unwrap()]).trim() != "0"
    };
    assert!(place.ok(&["fault", "crash", "api-2"]).contains("its process has ended"));
    wait_until("a restart by the engine", || restarted("api-2"));
    assert!(!restarted("api-1"));
    place.ok(&["fault", "leak", "api-1", "--rate", "16mb", "--limit", "64mb"]);
    wait_until("its end by the kernel, and a restart", || restarted("api-1"));
    assert!(place.ok(&["heal"]).contains("the process that leaked has ended"));
    let limits =
        docker(&["ps", "--quiet", "--filter", &format!("label=com.docker.compose.project={}", project(&place))]);
    let limits = limits.lines().map(|id| docker(&["inspect", "--format", "{{.HostConfig.Memory}}", id]));
    assert!(limits.into_iter().all(|bytes| bytes.trim() != (64 << 20).to_string()), "the limit is the old one");
    wait_for_answer(&url);

    place.ok(&["scale", "5"]);
    wait_until("five instances", || (0..30).map(|_| get(&url).1).collect::<BTreeSet<_>>().len() == 5);
    place.ok(&["scale", "2"]);
    assert_eq!(place.status().replicas.len(), 2);

    place.ok(&["down"]);
    let gone = place.lab(&["status"]);
    assert!(gone.code == Some(1) && gone.stderr.contains("no stack is running"), "{gone:?}");
    assert!(containers(&place).contains("postgres-data"), "the records stay");
    assert!(place.ok(&["down"]).contains("no stack is running"));
    place.ok(&["down", "--purge"]);
    assert_eq!(containers(&place), "");
}

#[test]
fn an_interrupted_or_killed_start_leaves_nothing_after_down() {
    let place = place();
    for (moment, signal) in [(300, Signal::INT), (3000, Signal::TERM), (1500, Signal::KILL), (4500, Signal::KILL)] {
        let lab = place.start(&UP);
        thread::sleep(Duration::from_millis(moment));
        lab.signal(signal);
        let outcome = lab.outcome();
        assert_eq!(outcome.code, (signal != Signal::KILL).then_some(130), "{outcome:?}");
        if signal == Signal::KILL {
            place.ok(&["down"]);
        }
        let left = containers(&place);
        assert!(left.lines().all(|line| VOLUMES.iter().any(|volume| line.ends_with(volume))), "{left}");
        place.assert_nothing_left();
    }
    place.ok(&["down", "--purge"]);
    assert_eq!(containers(&place), "");
}

#[test]
fn a_port_that_is_taken_is_refused() {
    let place = place();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let outcome = place.lab(&["up", "--driver", "compose", "--detach", "--port", &port]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains(&format!("pid {}", std::process::id())), "{outcome:?}");
    assert_eq!(containers(&place), "");
}

/// Made by hand: by somebody who knows the project's name, or under the name that the compose file gives it.
#[test]
fn what_lab_did_not_create_is_neither_used_nor_purged() {
    let place = place();
    let name = project(&place);
    let (project, volume) = (format!("com.docker.compose.project={name}"), format!("{name}_postgres-data"));
    let theirs = ["volume", "create", "--label", &project, "--label", "com.docker.compose.volume=postgres-data"];
    docker(&[&theirs[..], &[&volume]].concat());
    let by_hand = format!("phase-observation_of-{name}");
    docker(&["volume", "create", "--label", "com.docker.compose.project=phase-observation", &by_hand]);
    let outcome = place.lab(&UP);
    assert!(outcome.code == Some(1) && outcome.stderr.contains(&volume), "{outcome:?}");
    place.ok(&["down", "--purge"]);
    docker(&["volume", "rm", &volume]);
    place.ok(&UP);
    wait_for_answer(&format!("{}/data/1", place.status().base_url));
    docker(&[&theirs[..], &[&format!("{name}_diary")]].concat());
    place.ok(&["down", "--purge"]);
    assert_eq!(containers(&place).trim(), format!("{name}_diary"));
    docker(&["volume", "rm", &format!("{name}_diary"), &by_hand]);
}

#[test]
fn faults_are_the_same_as_with_processes() {
    let place = place();
    place.ok(&UP);
    let status = place.status();
    let url = format!("{}/data/1", status.base_url);
    wait_for_answer(&url);
    // Answers name a replica by its container.
    assert!((0..20).all(|_| status.instance(&get(&url).1).is_some()));

    // A crash stays one until it is healed.
    place.ok(&["fault", "kill", "redis"]);
    let container = status.dependencies.redis.server.container.clone().unwrap();
    assert_eq!(docker(&["inspect", "--format", "{{.State.Status}} {{.RestartCount}}", &container]).trim(), "exited 0");
    assert_eq!(place.state("redis"), "stopped");
    assert!(place.ok(&["heal"]).contains("redis: started again"));

    let redis: SocketAddr = place.status().dependencies.redis.address.parse().unwrap();
    let reach = || TcpStream::connect_timeout(&redis, Duration::from_millis(500)).map_err(|error| error.kind());
    let cut = place.lab(&["fault", "cut", "redis"]);
    if cut.code == Some(2) {
        assert!(cut.stderr.contains("not permitted"), "{cut:?}");
    } else {
        assert_eq!(reach().unwrap_err(), std::io::ErrorKind::TimedOut, "neither accepted nor refused");
        assert!(place.ok(&["heal"]).contains("redis: connected again"));
        reach().unwrap();
    }
    for fault in ["lock-table", "limit-connections", "read-only"] {
        place.ok(&["fault", fault, "postgres"]);
        assert!(place.ok(&["status"]).contains(fault));
        place.ok(&["heal"]);
    }
    place.ok(&["configure", "--replicas", "2", "--env", "CACHE=off"]);
    wait_until("two uncached replicas", || {
        let answer = stack::get(&url, Duration::from_secs(2));
        answer.is_ok_and(|answer| !answer.header("cache-status").unwrap_or_default().contains("hit"))
    });
    place.ok(&["restart"]);
    wait_for_answer(&url);
    place.ok(&["down", "--purge"]);
    assert_eq!(containers(&place), "");
}
