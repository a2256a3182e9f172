//! A running stack takes another shape without being torn down, and its tools find it.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use crate::support::{Place, get, wait_for_answer, wait_until};

/// Ends the clients of a test also when it fails.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn configuring_and_restarting_under_load_fails_no_request() {
    let place = Place::new();
    let before = place.up(&["--replicas", "2"]);
    let url = format!("{}/data/1", before.base_url);
    let pids = || place.status().replicas.iter().map(|replica| replica.server.pid.unwrap()).collect::<Vec<_>>();
    let first = pids();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Raised(&done);
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
        place.ok(&["restart"]);
        let second = pids();
        assert!(first.iter().all(|pid| !second.contains(pid)), "{first:?} {second:?}");
        let shown = place.ok(&["configure", "--replicas", "3", "--env", "CACHE=off", "--connections", "2"]);
        assert!(shown.contains("api-3"), "{shown}");
        let third = pids();
        assert!(second.iter().all(|pid| !third.contains(pid)) && third.len() == 3, "{second:?} {third:?}");
        // What is as it should be is left alone.
        place.ok(&["configure", "--env", "CACHE=off"]);
        assert_eq!(pids(), third);
        place.ok(&["configure", "--replicas", "2", "--unset", "CACHE", "--unset", "DB_MAX_CONNECTIONS"]);
        done.store(true, Ordering::Relaxed);
        let (asked, failed) = client.join().unwrap();
        assert!(asked > 0 && failed.is_empty(), "{failed:?} of {asked}");
    });
    let after = place.status();
    assert_eq!(after.base_url, before.base_url);
    let pid = |status: &stack::Status| status.dependencies.postgres.server.pid;
    assert_eq!(pid(&after), pid(&before), "dependencies stay");
    let instances: BTreeSet<_> =
        after.replicas.iter().map(|replica| after.instance(&replica.name.to_string())).collect();
    assert_eq!(instances.len(), 2);
    assert!(!instances.contains(&None));
}

#[test]
fn a_switch_takes_effect_and_is_taken_back() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let url = format!("{}/data/1", status.base_url);
    let cached = || {
        let answer = stack::get(&url, crate::support::PATIENCE).unwrap();
        answer.header("cache-status").is_some_and(|cache| cache.contains("hit") || cache.contains("stored"))
    };
    wait_until("a cached answer", cached);
    place.ok(&["configure", "--env", "CACHE=off"]);
    wait_for_answer(&url);
    assert!(!cached());
    place.ok(&["configure", "--unset", "CACHE"]);
    wait_until("a cached answer", cached);
    place.ok(&["restart", "--all-at-once"]);
    wait_for_answer(&url);
    assert_eq!(place.lab(&["configure", "--replicas", "0"]).code, Some(2));
    assert_eq!(place.lab(&["configure", "--phase", "9"]).code, Some(2));
}

#[test]
fn a_replica_that_was_killed_gets_the_new_shape_when_it_is_healed_or_scaled_away() {
    let place = Place::new();
    place.up(&["--replicas", "3"]);
    place.ok(&["fault", "kill", "api-3"]);
    place.ok(&["configure", "--env", "CACHE=off"]);
    assert_eq!(place.state("api-3"), "stopped", "a fault is not undone by the way");
    place.ok(&["heal"]);
    let status = place.status();
    let answer = stack::get(&format!("{}/data/1", status.replicas[2].url), crate::support::PATIENCE).unwrap();
    assert!(!answer.header("cache-status").unwrap_or_default().contains("hit"), "{answer:?}");
    place.ok(&["fault", "kill", "api-3"]);
    place.ok(&["scale", "2"]);
    place.ok(&["scale", "3"]);
    assert_eq!(place.status().faults().count(), 0, "it took its fault with it");
    assert_eq!(place.state("api-3"), "up");
}

#[test]
fn the_usual_tools_open_without_hunting_for_ports_and_passwords() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    assert_eq!(place.ok(&["psql", "--", "-Atc", "SELECT current_user"]).trim(), "app");
    assert_eq!(place.ok(&["psql", "--admin", "--", "-Atc", "SELECT current_user"]).trim(), "postgres");
    assert_ne!(place.lab(&["psql", "--", "-c", "nonsense"]).code, Some(0), "its exit code is psql's");
    assert_eq!(place.ok(&["redis-cli", "--", "PING"]).trim(), "PONG");
    let logs = place.ok(&["logs", "postgres"]);
    assert!(logs.contains("ready to accept connections") && !logs.contains("postgres | "), "{logs}");
    let logs = place.ok(&["logs"]);
    assert!(logs.contains("postgres | ") && logs.contains("api-1 | "), "{logs}");
    let unknown = place.lab(&["logs", "mysql"]);
    assert!(unknown.code == Some(2) && unknown.stderr.contains("postgres, redis"), "{unknown:?}");
    assert!(place.ok(&["open"]).contains(&status.base_url));
    assert_eq!(place.lab(&["open", "prometheus"]).code, Some(2));

    let mut following = place.start(&["logs", "-f", "api-1"]);
    following.wait_for("api-1");
    let id = "999000111";
    get(&format!("{}/data/{id}", status.base_url));
    following.wait_for("\"status\":404");
    following.signal(rustix::process::Signal::INT);
    assert_eq!(following.outcome().code, Some(0));
}
