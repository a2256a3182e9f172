//! What cannot work is refused with a message that says what to do, and leaves everything as it was.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Command};

use crate::support::{Place, wait_for_answer};

#[test]
fn a_second_up_says_so_and_leaves_the_first_alone() {
    let place = Place::new();
    let first = place.up(&["--replicas", "1"]);
    let second = place.lab(&["up", "--detach"]);
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains("already running") && second.stderr.contains("lab status"), "{second:?}");
    let after = place.status();
    assert_eq!(after.replicas[0].server.pid, first.replicas[0].server.pid);
    wait_for_answer(&format!("{}/data/1", first.base_url));
}

#[test]
fn of_two_starts_at_once_one_wins() {
    let place = Place::new();
    let labs = [(); 2].map(|()| place.start(&["up", "--detach", "--port", "0", "--replicas", "1"]));
    let mut codes = labs.map(|lab| lab.outcome().code);
    codes.sort_unstable();
    assert_eq!(codes, [Some(0), Some(2)]);
    assert_eq!(place.state("api-1"), "up");
}

#[test]
fn a_taken_port_is_named_with_its_holder_when_it_was_asked_for() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let outcome = place.lab(&["up", "--detach", "--port", &port]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    let holder = format!("(pid {})", std::process::id());
    assert!(outcome.stderr.contains(&port) && outcome.stderr.contains(&holder), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn the_usual_port_is_replaced_when_it_is_taken() {
    let place = Place::new();
    // Whoever holds it, it is taken.
    let _listener = TcpListener::bind("127.0.0.1:8080");
    place.ok(&["up", "--detach", "--replicas", "1"]);
    let status = place.status();
    assert_ne!(status.base_url, "http://127.0.0.1:8080");
    wait_for_answer(&format!("{}/data/1", status.base_url));
}

#[test]
fn a_missing_api_names_the_command_that_builds_it() {
    let place = Place::new();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--api-bin", "/nowhere/api"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("cargo build -p api"), "{outcome:?}");
    assert!(!place.folder().exists(), "nothing was touched");
}

#[test]
fn an_api_that_fails_is_quoted_and_everything_else_stopped_again() {
    let place = Place::new();
    let api = place.beside("api.sh");
    fs::write(&api, "#!/bin/sh\n[ \"$1\" = migrate ] && exit 0\necho the cellar is flooded >&2\nexit 64\n").unwrap();
    fs::set_permissions(&api, fs::Permissions::from_mode(0o755)).unwrap();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--api-bin", &api.display().to_string()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for text in ["api-1 did not start", "the cellar is flooded", "64", "logs/api-1.log"] {
        assert!(outcome.stderr.contains(text), "{text} is missing: {}", outcome.stderr);
    }
    place.assert_nothing_left();
    assert_eq!(place.lab(&["status"]).code, Some(1));
}

#[test]
fn a_bad_variable_for_the_replicas_shows_what_the_api_says() {
    let place = Place::new();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--env", "DRAIN_TIMEOUT=soon"]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("DRAIN_TIMEOUT"), "{outcome:?}");
    place.assert_nothing_left();
}

#[test]
fn a_folder_with_other_things_in_it_is_not_taken() {
    let place = Place::new();
    fs::create_dir(place.folder()).unwrap();
    let precious = place.folder().join("thesis.txt");
    fs::write(&precious, "years of work").unwrap();
    let outcome = place.lab(&["up", "--detach", "--port", "0"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    place.ok(&["down", "--purge"]);
    assert_eq!(fs::read_to_string(&precious).unwrap(), "years of work");
    fs::remove_dir_all(place.folder()).unwrap();
}

#[test]
fn numbers_out_of_range_are_usage_errors() {
    let place = Place::new();
    for words in [
        &["up", "--replicas", "0"][..],
        &["up", "--replicas", "17"],
        &["up", "--replicas", "many"],
        &["up", "--phase", "5"],
        &["up", "--cpus", "0"],
        &["up", "--cpus", "nan"],
        &["up", "--env", "novalue"],
        &["up", "--port", "65536"],
        &["fault", "pause", "redis", "--for", "5"],
        &["nonsense"],
    ] {
        let outcome = place.lab(words);
        assert_eq!(outcome.code, Some(2), "{words:?}: {outcome:?}");
    }
    assert!(!place.folder().exists());
}

#[test]
fn without_a_stack_every_command_says_so() {
    let place = Place::new();
    for words in [&["status"][..], &["heal"], &["fault", "kill", "redis"], &["scale", "2"]] {
        let outcome = place.lab(words);
        assert_eq!(outcome.code, Some(1), "{words:?}: {outcome:?}");
        assert!(outcome.stderr.contains("no stack is running"), "{outcome:?}");
    }
    assert!(place.ok(&["down"]).contains("no stack is running"));
}

#[test]
fn a_result_that_cannot_be_printed_is_an_error() {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("list").stdout(full).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(complaint.contains("standard output"), "{complaint}");
}
