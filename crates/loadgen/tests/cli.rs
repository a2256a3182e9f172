//! The program as a user meets it: what it prints, which files it writes, how it fails and what it exits with.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/schema.rs"]
mod schema;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of the books need more of it")]
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use server::{OK, Server};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs and expects this exit code; returns what was printed, and what was complained about.
fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    let output = load(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "load {arguments:?}\n{out}\n{err}");
    (out, err)
}

/// Runs, and expects to be refused with a message that holds these words.
fn refused(words: &[&str], arguments: &[&str]) {
    let (out, err) = expect(2, arguments);
    for word in words {
        assert!(err.contains(word), "load {arguments:?} says nothing of {word:?}:\n{err}");
    }
    assert!(out.is_empty(), "{out}");
    assert!(!err.contains("panicked"), "{err}");
}

#[test]
fn the_notes_run_reads_like_the_notes() {
    let server = Server::answering(OK);
    let (out, err) = expect(0, &["run", &server.url("/data/1"), "--requests", "100", "--connections", "10"]);
    assert!(err.is_empty(), "quiet in a pipe: {err}");
    let value = |name: &str, unit: &str| {
        let line =
            out.lines().find(|line| line.starts_with(name) && line.ends_with(unit)).unwrap_or_else(|| panic!("{out}"));
        line[name.len()..line.len() - unit.len()].trim().parse::<f64>().unwrap()
    };
    let rate = value("Requests per second:", "[#/sec] (mean)");
    let mean = value("Time per request:", "[ms] (mean)");
    assert!(rate > 0.0 && mean > 0.0);
    assert_eq!(value("Complete requests:", ""), 100.0);
    assert_eq!(server.seen.requests(), 100);
}

#[test]
fn results_are_kept_in_the_published_form_and_shown_again() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html) = (file("a.json"), file("a.html"));
    let published: Value = serde_json::from_str(include_str!("../../../load-tests/schema/report.schema.json")).unwrap();
    for load in
        [&["--requests", "50"][..], &["--rate", "200", "--duration", "500ms"], &["--requests", "20", "--repeat", "3"]]
    {
        let url = server.url("/data/1");
        let files = ["--json", &json, "--html", &html, "--fail-if", "p99.9>60s"];
        let (out, _) = expect(0, &[&["run", url.as_str()], load, &files].concat());
        let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        schema::check(&published, &document);
        assert_eq!(document["verdict"]["outcome"], "held");
        assert_eq!(expect(0, &["report", &json]).0, out, "the summary is a function of the file");
        let page = fs::read_to_string(&html).unwrap();
        for outside in ["src=", "href=", "url(", "@import", "fetch("] {
            assert!(!page.contains(outside), "the page needs nothing from outside: {outside}");
        }
        let again = file("again.html");
        expect(0, &["report", &json, "--html", &again]);
        assert_eq!(fs::read_to_string(again).unwrap(), page);
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "no drafts are left");
}

#[test]
fn a_failed_condition_is_an_exit_code_and_a_reason() {
    let server = Server::answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
    let url = server.url("/");
    let run = ["run", &url, "-n", "20", "-c", "2"];
    let with = |conditions: &[&'static str]| [&run[..], conditions].concat();
    let (out, _) = expect(1, &with(&["--fail-if", "success<95%", "--fail-if", "p95>20s"]));
    assert!(out.contains("FAILED: fail if success<95%, measured 0%"), "{out}");
    assert!(out.contains("passed: fail if p95>20s"), "{out}");
    expect(1, &with(&["--fail-if", "errors>0"]));
    expect(0, &with(&["--success", "503", "--fail-if", "errors > 0", "--fail-if", "rps<=0"]));
}

#[test]
fn conditions_that_cannot_be_read_are_refused() {
    for (condition, word) in [
        ("p95", "none of"),
        ("p96>3ms", "p96"),
        ("p95>3", "unit"),
        ("success<0.95", "%"),
        ("errors>-1", "number"),
        ("rps<x", "number"),
    ] {
        refused(&[condition, word], &["run", "http://127.0.0.1:1/", "--fail-if", condition]);
    }
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&["cannot connect", &nobody.to_string(), "running"], &["run", &format!("http://{nobody}/")]);
    refused(&["resolve", "no-such-host.invalid"], &["run", "http://no-such-host.invalid/"]);
    refused(&["https", "TLS"], &["run", "https://127.0.0.1/"]);
    refused(&["http://"], &["run", "127.0.0.1:8080/data/1"]);
    let redis = Server::answering(b"-ERR unknown command 'GET'\r\n");
    let (out, _) = expect(2, &["run", &redis.url("/"), "-n", "10"]);
    assert!(out.contains("not one answer: 10 × protocol"), "{out}");
}

#[test]
fn absurd_settings_are_refused_with_their_bounds() {
    let url = "http://127.0.0.1:1/";
    for (words, arguments) in [
        (&["connections", "65536", "0"][..], &["-c", "0"][..]),
        (&["connections", "65536"], &["-c", "1000000"]),
        (&["number of requests"], &["-n", "0"]),
        (&["rate", "zero"], &["--rate", "0"]),
        (&["rate", "1000000"], &["--rate", "1e12"]),
        (&["rate"], &["--rate", "NaN"]),
        (&["duration"], &["--duration", "0s"]),
        (&["unit"], &["--duration", "10"]),
        (&["time-out", "1ms and 1m"], &["--timeout", "2m"]),
        (&["threads"], &["--threads", "11"]),
        (&["stage"], &["--stages", "10"]),
        (&["cannot be used with"], &["--stages", "10:1s", "--rate", "3"]),
        (&["open loop"], &["--arrivals", "poisson"]),
        (&["range"], &["--ids", "9..1"]),
        (&["{id}"], &["-H", "X: {id}"]),
        (&["Content-Length"], &["-H", "Content-Length: 3"]),
        (&["status"], &["--success", "yes"]),
    ] {
        refused(words, &[&["run", url], arguments].concat());
    }
}

#[test]
fn too_few_open_files_are_told_with_the_way_out() {
    let command = format!("ulimit -n 100; exec '{}' run http://127.0.0.1:1/ -c 200", env!("CARGO_BIN_EXE_load"));
    let server = Server::answering(OK);
    let command = command.replace("http://127.0.0.1:1/", &server.url("/"));
    let output = Command::new("sh").args(["-c", &command]).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("may open 100") && err.contains("ulimit -n 267"), "{err}");
}

#[test]
fn wrong_files_are_told_with_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let url = "http://127.0.0.1:1";
    let workload = file("w.toml", "[load]\nconnections = 10\nrequets = 5\n");
    refused(&["w.toml:3:", "requets"], &["run", url, "--workload", &workload]);
    let curve = file("c.toml", "length = \"1m\"\npoints = [\n  [0, 1],\n  [0, 2],\n]\n");
    refused(&["c.toml:4:", "follow each other"], &["run", url, "--curve", &curve]);
    refused(&["no-such.toml", "No such file"], &["run", url, "--workload", "no-such.toml"]);
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/open.json");
    let garbage = file("g.json", "{\n \"schema\": 3,\n}\n");
    refused(&["g.json:2:", "not a report"], &["compare", good, &garbage]);
    let other = file("o.json", "{\"schema\": \"load-report/9\"}");
    refused(&["o.json:1:", "load-report/9", "load-report/1"], &["compare", &other, good]);
    let torn = file("t.json", "{\n\"schema\": \"load-report/1\",\n\"plan\": {}\n}\n");
    refused(&["t.json:3:", "mode"], &["report", &torn]);
    refused(&["nothing.json"], &["compare", good, "nothing.json"]);
}

#[test]
fn a_result_that_cannot_be_kept_is_an_error_before_or_after_the_run() {
    let server = Server::answering(OK);
    let url = server.url("/");
    refused(&["no/such/folder"], &["run", &url, "-n", "5", "--json", "no/such/folder/a.json"]);
    assert_eq!(server.seen.requests(), 0, "found out before the run");
    let (out, err) = expect(2, &["run", &url, "-n", "5", "--json", "/dev/full"]);
    assert!(out.contains("Requests per second:"), "the summary is printed all the same: {out}");
    assert!(err.contains("/dev/full") && err.contains("space"), "{err}");
}

#[test]
fn an_interrupt_ends_with_the_report_of_what_ran() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["run", &server.url("/"), "--rate", "100", "--duration", "10m", "--json"])
        .arg(&json)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is under way, and so its handler is in place, when requests arrive.
    while server.seen.requests() < 20 {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{out}");
    assert!(out.contains("Verdict:                interrupted"), "{out}");
    let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert!(document["summary"]["sent"].as_u64().unwrap() >= 20);
}

#[test]
fn compare_shows_both_sides() {
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/open.json");
    let (out, _) = expect(0, &["compare", good, good]);
    assert!(out.contains("Requests per second") && out.contains("too few runs"), "{out}");
    expect(0, &["compare", good, good, "--fail-if-worse"]);
}

/// The workloads that the documentation names must be fit for use.
#[test]
fn every_workload_of_the_repository_can_be_run() {
    let server = Server::answering(OK);
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../load-tests"));
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let workload = loadgen::Workload::read(&path).unwrap_or_else(|error| panic!("{error}"));
            assert!(!workload.description.is_empty(), "{}", path.display());
            workload.plan(&server.url("")).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
    let notes = folder.join("notes-100x10.toml");
    let (out, _) = expect(0, &["run", &server.url(""), "--workload", notes.to_str().unwrap()]);
    assert!(out.lines().any(|line| line.split_whitespace().eq(["Complete", "requests:", "100"])), "{out}");
}

#[test]
fn a_reader_that_leaves_early_is_no_panic() {
    let server = Server::answering(OK);
    let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["run", &server.url("/"), "--rate", "50", "--duration", "300ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let complaints: Vec<String> = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(complaints.iter().all(|line| !line.contains("panicked")), "{complaints:?}");
}
