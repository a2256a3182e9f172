//! Every fault takes hold, can be seen, and is undone.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use rustix::process::{Signal, geteuid};

use crate::support::{Place, get, send, wait_for_answer, wait_until};

#[test]
fn every_server_can_be_killed_stopped_and_paused_and_is_healed() {
    let place = Place::new();
    let before = place.up(&[]);
    let url = format!("{}/data/1", before.base_url);
    for target in ["postgres", "redis", "nginx", "api-2"] {
        for (fault, state) in [("pause", "paused"), ("stop", "stopped"), ("kill", "stopped")] {
            let said = place.ok(&["fault", fault, target]);
            assert!(said.starts_with(&format!("{target}: {state}")) || fault == "kill", "{said}");
            assert_eq!(place.state(target), state, "{fault} {target}");
            let said = place.ok(&["heal"]);
            assert!(said.contains(target), "{said}");
            assert_eq!(place.state(target), "up", "{fault} {target}");
        }
    }
    assert!(place.ok(&["heal"]).contains("nothing to heal"));
    wait_until("all replicas behind nginx", || get(&url).1 == "api-2");
    let after = place.status();
    assert_eq!(after.base_url, before.base_url, "the port stays");
    let addresses = |status: &stack::Status| {
        status.servers().map(|(name, address, _)| (name, address.to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(addresses(&after), addresses(&before), "all ports stay");
}

#[test]
fn a_kill_of_postgres_takes_its_backends_and_a_pause_freezes_them() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let data = fs::canonicalize(place.folder().join("postgres/data")).unwrap();
    // A request that reads from the database leaves a backend.
    wait_for_answer(&format!("{}/data?limit=1", status.base_url));
    let backends = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let works_there = |path: &std::path::Path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd == data);
        let states = all.filter(|entry| works_there(&entry.path())).filter_map(|entry| {
            fs::read_to_string(entry.path().join("stat")).ok()?.rsplit(") ").next()?.chars().next()
        });
        states.filter(|state| !"ZX".contains(*state)).collect::<String>()
    };
    place.ok(&["fault", "pause", "postgres"]);
    let frozen = backends();
    assert!(frozen.len() > 4 && frozen.chars().all(|state| state == 'T'), "{frozen}");
    place.ok(&["heal"]);
    assert!(!backends().contains('T'));
    place.ok(&["fault", "kill", "postgres"]);
    assert_eq!(backends(), "");
}

#[test]
fn paused_servers_are_killed_stopped_and_brought_down_all_the_same() {
    let place = Place::new();
    place.up(&["--replicas", "3"]);
    for target in ["api-1", "api-2", "postgres", "redis", "nginx"] {
        place.ok(&["fault", "pause", target]);
    }
    place.ok(&["fault", "kill", "api-1"]);
    place.ok(&["fault", "stop", "api-2"]);
    assert_eq!((place.state("api-1"), place.state("api-2")), ("stopped".to_owned(), "stopped".to_owned()));
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn what_cannot_be_is_said() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    for words in [["fault", "kill", "api-2"], ["fault", "pause", "mysql"], ["fault", "stop", ""]] {
        let outcome = place.lab(&words);
        assert_eq!(outcome.code, Some(2), "{outcome:?}");
        assert!(outcome.stderr.contains("postgres, redis, nginx, api-1"), "{outcome:?}");
    }
    let outcome = place.lab(&["heal", "api-9"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("api-1"), "{outcome:?}");
    assert_eq!(place.lab(&["fault", "melt", "redis"]).code, Some(2));

    place.ok(&["fault", "kill", "api-1"]);
    for fault in ["kill", "stop", "pause", "cut"] {
        let outcome = place.lab(&["fault", fault, "api-1"]);
        assert!(outcome.code == Some(1) && outcome.stderr.contains("not running"), "{outcome:?}");
    }
    place.ok(&["fault", "pause", "redis"]);
    let outcome = place.lab(&["fault", "pause", "redis"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("already paused"), "{outcome:?}");
}

#[test]
fn a_cut_drops_packets_silently_or_says_why_it_cannot() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let redis = status.dependencies.redis.address.parse().unwrap();
    let reach = || TcpStream::connect_timeout(&redis, Duration::from_millis(300)).map_err(|error| error.kind());
    let outcome = place.lab(&["fault", "cut", "redis"]);
    if outcome.code == Some(2) {
        assert!(outcome.stderr.contains("not permitted"), "{outcome:?}");
        assert!(reach().is_ok());
        assert_eq!(place.state("redis"), "up");
        assert!(place.ok(&["heal"]).contains("nothing"));
        return;
    }
    assert!(outcome.code == Some(0) && geteuid().is_root(), "{outcome:?}");
    assert_eq!(reach().unwrap_err(), std::io::ErrorKind::TimedOut, "neither accepted nor refused");
    // Postgres still answers for what Redis does not.
    wait_for_answer(&format!("{}/data/1", status.base_url));
    place.ok(&["heal"]);
    assert!(reach().is_ok());

    place.ok(&["fault", "cut", "redis"]);
    place.ok(&["down"]);
    place.up(&["--replicas", "1"]);
    assert_eq!(place.state("redis"), "up", "the cut does not outlive the stack");
}

#[test]
fn a_fault_for_a_time_undoes_itself() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    let start = Instant::now();
    let mut lab = place.start(&["fault", "pause", "redis", "--for", "1500ms"]);
    lab.wait_for("redis: paused");
    assert_eq!(place.state("redis"), "paused");
    let outcome = lab.outcome();
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    assert!(start.elapsed() >= Duration::from_millis(1500));
    assert_eq!(place.state("redis"), "up");

    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let mut lab = place.start(&["fault", "kill", "redis", "--for", "10m"]);
        lab.wait_for("redis: killed");
        assert_eq!(place.state("redis"), "stopped");
        lab.signal(signal);
        let outcome = lab.outcome();
        assert_eq!(outcome.code, Some(130), "{outcome:?}");
        assert_eq!(place.state("redis"), "up", "undone before it ended");
    }
}

#[test]
fn workers_whose_leader_was_killed_alone_do_not_stop_the_healing() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    send(status.dependencies.nginx.server.pid.unwrap(), Signal::KILL);
    wait_until("nginx to be seen as stopped", || place.state("nginx") == "stopped");
    assert!(place.ok(&["heal"]).contains("nginx: started again"));
    wait_for_answer(&format!("{}/data/1", status.base_url));

    send(status.dependencies.postgres.server.pid.unwrap(), Signal::KILL);
    wait_until("postgres to be seen as stopped", || place.state("postgres") == "stopped");
    assert!(place.ok(&["heal"]).contains("postgres: started again"));
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn a_port_that_was_taken_meanwhile_is_named_with_its_holder() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    place.ok(&["fault", "kill", "redis"]);
    let taken = TcpListener::bind(&status.dependencies.redis.address).unwrap();
    let outcome = place.lab(&["heal"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains(&format!("pid {}", std::process::id())), "{outcome:?}");
    drop(taken);
    place.ok(&["heal"]);
    assert_eq!(place.state("redis"), "up");
}

#[test]
fn only_one_server_is_healed_when_one_is_named() {
    let place = Place::new();
    place.up(&["--replicas", "2"]);
    place.ok(&["fault", "kill", "api-1"]);
    place.ok(&["fault", "pause", "api-2"]);
    place.ok(&["heal", "api-2"]);
    assert_eq!((place.state("api-1").as_str(), place.state("api-2").as_str()), ("stopped", "up"));
}
