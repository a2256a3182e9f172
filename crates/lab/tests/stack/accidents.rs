//! Interrupted anywhere, nothing is left behind that `lab down` does not clear.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::support::{Place, wait_for_answer, wait_until};

/// Moments of a start: before, in and after each of its steps. A first start takes a second or more, most of it for the
/// creation of the database; a second one takes a third of that.
const MOMENTS_MS: [u64; 12] = [0, 5, 15, 40, 80, 120, 200, 300, 450, 700, 1000, 1500];

#[test]
fn a_lab_killed_at_any_moment_of_a_first_start_leaves_what_down_clears() {
    for moment in MOMENTS_MS {
        let place = Place::new();
        let lab = place.start(&["up", "--detach", "--port", "0"]);
        thread::sleep(Duration::from_millis(moment));
        lab.signal(Signal::KILL);
        drop(lab.outcome());
        place.ok(&["down"]);
        place.assert_nothing_left();
    }
}

#[test]
fn a_lab_killed_at_any_moment_of_a_later_start_is_cleared_by_the_next_up() {
    let place = Place::new();
    place.up(&["--replicas", "2"]);
    place.ok(&["down"]);
    for moment in MOMENTS_MS {
        let lab = place.start(&["up", "--detach", "--port", "0", "--replicas", "2"]);
        thread::sleep(Duration::from_millis(moment));
        lab.signal(Signal::KILL);
        let was_done = place.lab(&["status"]).code == Some(0)
            && fs::read_to_string(place.folder().join("state.json")).is_ok_and(|record| record.contains("\"running\""));
        drop(lab.outcome());
        let again = place.lab(&["up", "--detach", "--port", "0", "--replicas", "2"]);
        assert!(again.code == Some(0) || was_done && again.code == Some(2), "{again:?}");
        wait_for_answer(&format!("{}/data/1", place.status().base_url));
        place.ok(&["down"]);
        place.assert_nothing_left();
    }
}

#[test]
fn an_interrupted_start_cleans_up_by_itself() {
    let place = Place::new();
    for (moment, signal) in MOMENTS_MS.into_iter().zip([Signal::INT, Signal::TERM, Signal::HUP].into_iter().cycle()) {
        let mut lab = place.start(&["up", "--port", "0"]);
        thread::sleep(Duration::from_millis(moment));
        if moment == 0 {
            // The very first thing it does is to catch signals; before that they just end it.
            lab.wait_for("");
        }
        lab.signal(signal);
        let outcome = lab.outcome();
        assert!(outcome.code == Some(130) || outcome.code.is_none() && outcome.stderr.is_empty(), "{outcome:?}");
        place.assert_nothing_left();
    }
}

#[test]
fn a_second_interrupt_kills_what_does_not_want_to_go() {
    let place = Place::new();
    let api = place.beside("api.sh");
    // Migrates at once, then never answers and never ends.
    fs::write(
        &api,
        "#!/bin/sh\n[ \"$1\" = migrate ] && exit 0\ntrap '' TERM\n: >\"$0.deaf\"\nwhile :; do sleep 1; done\n",
    )
    .unwrap();
    fs::set_permissions(&api, fs::Permissions::from_mode(0o755)).unwrap();
    let mut lab = place.start(&["up", "--port", "0", "--api-bin", &api.display().to_string()]);
    wait_until("an API that does not listen", || place.beside("api.sh.deaf").exists());
    lab.signal(Signal::INT);
    lab.wait_for("stopping what was started");
    let second = Instant::now();
    lab.signal(Signal::INT);
    let outcome = lab.outcome();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    assert!(outcome.stderr.contains("killed api-1"), "{outcome:?}");
    assert!(second.elapsed() < Duration::from_secs(10), "it did not wait for the replicas' 15 s");
    place.assert_nothing_left();
}

#[test]
fn what_was_never_complete_cannot_be_healed() {
    let place = Place::new();
    let mut lab = place.start(&["up", "--detach", "--port", "0"]);
    lab.wait_for("creating the database");
    lab.signal(Signal::KILL);
    drop(lab.outcome());
    for words in [&["heal"][..], &["fault", "kill", "redis"], &["scale", "2"]] {
        let outcome = place.lab(words);
        assert!(outcome.code == Some(1) && outcome.stderr.contains("lab down"), "{outcome:?}");
    }
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn a_killed_down_is_finished_by_the_next_one() {
    let place = Place::new();
    for moment in [0, 10, 50, 100, 300, 600] {
        place.up(&["--replicas", "2"]);
        let lab = place.start(&["down"]);
        thread::sleep(Duration::from_millis(moment));
        lab.signal(Signal::KILL);
        drop(lab.outcome());
        place.ok(&["down"]);
        place.assert_nothing_left();
    }
}

#[test]
fn a_lab_killed_in_the_foreground_leaves_a_stack_that_can_be_used_and_stopped() {
    let place = Place::new();
    let mut lab = place.start(&["up", "--port", "0", "--replicas", "1"]);
    lab.wait_for("Ctrl-C stops the stack");
    lab.signal(Signal::KILL);
    drop(lab.outcome());
    assert_eq!(place.state("api-1"), "up");
    let again = place.lab(&["up", "--detach"]);
    assert!(again.code == Some(2) && again.stderr.contains("already running"), "{again:?}");
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn a_down_during_a_start_ends_the_start() {
    let place = Place::new();
    let mut lab = place.start(&["up", "--detach", "--port", "0"]);
    lab.wait_for("creating the database");
    place.ok(&["down"]);
    let outcome = lab.outcome();
    assert_eq!(outcome.code, Some(130), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn a_broken_record_does_not_keep_the_servers_alive() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    fs::write(place.folder().join("state.json"), "{\"schema\": 1, \"driv").unwrap();
    let outcome = place.lab(&["status"]);
    assert!(outcome.code == Some(1) && outcome.stderr.contains("lab down"), "{outcome:?}");
    place.ok(&["down"]);
    place.assert_nothing_left();
}

#[test]
fn a_record_from_before_a_restart_of_the_machine_is_not_believed() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    place.ok(&["down"]);
    // A stranger's number in a record of another boot.
    let mut stranger = std::process::Command::new("sleep").arg("300").spawn().unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", stranger.id())).unwrap();
    let status = place.up(&["--replicas", "1"]);
    let record = place.folder().join("state.json");
    let text = fs::read_to_string(&record).unwrap();
    place.ok(&["down"]);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    fs::write(&record, text.replace(boot.trim(), "00000000-0000-0000-0000-000000000000")).unwrap();
    fs::write(place.folder().join("run/api-1.pid"), stat).unwrap();
    assert_eq!(place.lab(&["status"]).code, Some(1), "{status:?}");
    place.ok(&["down"]);
    assert!(stranger.try_wait().unwrap().is_none(), "a stranger was killed");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}
