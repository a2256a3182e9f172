//! Undone is what was done, all of it and nothing else.

use std::{fs, net::TcpListener, process::Command};

use rustix::process::{Signal, geteuid};

use crate::support::{Place, wait_until};

#[test]
fn a_fault_for_a_time_takes_only_itself_back() {
    let place = Place::new();
    place.up(&["--replicas", "2"]);
    // Another fault of the same server.
    place.ok(&["fault", "read-only", "postgres"]);
    place.ok(&["fault", "pause", "postgres", "--for", "300ms"]);
    let kinds = || place.status().faults().map(|fault| fault.kind.name()).collect::<Vec<_>>();
    assert_eq!(kinds(), ["read-only"]);
    // The same fault of somebody else, given after it had been healed.
    let mut lab = place.start(&["fault", "kill", "api-2", "--for", "10m"]);
    lab.wait_for("api-2: killed");
    place.ok(&["heal", "api-2"]);
    place.ok(&["fault", "kill", "api-2"]);
    lab.signal(Signal::INT);
    let outcome = lab.outcome();
    assert!(outcome.code == Some(130) && outcome.stdout.contains("undone already"), "{outcome:?}");
    assert_eq!(place.state("api-2"), "stopped");
    assert_eq!(kinds(), ["kill", "read-only"]);
}

#[test]
fn heal_heals_what_it_can_and_then_says_what_it_could_not() {
    let place = Place::new();
    let status = place.up(&["--replicas", "2"]);
    for (fault, target) in
        [("kill", "postgres"), ("kill", "redis"), ("pause", "api-1"), ("kill", "api-2"), ("stop", "nginx")]
    {
        place.ok(&["fault", fault, target]);
    }
    let taken = [&status.dependencies.postgres.address, &status.replicas[1].url.replace("http://", "")]
        .map(|address| TcpListener::bind(address.as_str()).unwrap());
    let outcome = place.lab(&["heal"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for text in ["postgres's port", "api-2's port", &format!("pid {}", std::process::id())] {
        assert!(outcome.stderr.contains(text), "{text}: {outcome:?}");
    }
    for text in ["redis: started again", "api-1: resumed", "nginx: started again"] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome:?}");
    }
    let states = ["redis", "api-1", "nginx"].map(|name| place.state(name));
    assert_eq!(states, ["up", "up", "up"]);
    drop(taken);
    place.ok(&["heal"]);
    assert_eq!(place.status().faults().count(), 0);
}

#[test]
fn a_cut_is_found_and_removed_without_any_record_of_it() {
    if !geteuid().is_root() {
        return;
    }
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    let outcome = place.lab(&["fault", "cut", "redis"]);
    if outcome.code == Some(2) {
        assert!(outcome.stderr.contains("not permitted"), "{outcome:?}");
        return;
    }
    let port = status.dependencies.redis.address.rsplit(':').next().unwrap().to_owned();
    let rules = || {
        let listed = ["nft list ruleset", "iptables -w -S INPUT"].map(|command| {
            let output = Command::new("sh").args(["-c", command]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).into_owned()
        });
        listed.iter().flat_map(|text| text.lines()).filter(|line| line.contains(&format!("_{port}"))).count()
    };
    assert_ne!(rules(), 0);
    for record in ["state.json", "faults.json"] {
        fs::remove_file(place.folder().join(record)).unwrap();
    }
    place.ok(&["down"]);
    assert_eq!(rules(), 0);
    place.assert_nothing_left();
}

#[test]
fn a_number_that_is_somebody_elses_by_now_is_left_alone() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    place.ok(&["fault", "kill", "api-1"]);
    let mut stranger = Command::new("sleep").arg("300").current_dir("/").spawn().unwrap();
    // The whole truth about a living process, only it is none of ours.
    let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    fs::write(place.folder().join("run/api-1.pid"), &stat).unwrap();
    assert_eq!(place.state("api-1"), "stopped");
    for words in [&["fault", "pause", "api-1"][..], &["fault", "kill", "api-1"]] {
        assert_eq!(place.lab(words).code, Some(1));
    }
    fs::write(place.folder().join("run/redis-old.pid"), stat).unwrap();
    fs::write(place.folder().join("run/other.pid"), stranger.id().to_string()).unwrap();
    place.ok(&["down"]);
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_server_that_died_by_itself_is_healed_without_a_fault() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1"]);
    crate::support::send(status.dependencies.redis.server.pid.unwrap(), Signal::KILL);
    wait_until("redis to be seen as stopped", || place.state("redis") == "stopped");
    let stack = stack::Stack::connect(&place.folder()).unwrap();
    let healed = stack.heal(None, &stack::Operation::default()).unwrap();
    assert_eq!(healed.len(), 1);
    assert!(healed[0].kind.is_none() && healed[0].asked_at < healed[0].answered_at, "{healed:?}");
}
