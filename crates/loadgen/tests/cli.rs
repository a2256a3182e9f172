//! The program from a user's view: output, files, errors and exit codes.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/program.rs"]
mod program;
#[path = "support/schema.rs"]
mod schema;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of the counts need more of it")]
mod server;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use program::{expect, refused, text};
use rustix::process::Signal;
use serde_json::Value;
use server::{OK, Server};

const BUSY: &[u8] = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";

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
        let files = ["--json", &json, "--html", &html, "--fail-if", "p95>60s"];
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
    let (out, _) = expect(1, &with(&["--fail-if", "success<95%", "--fail-if", "p95>20s", "--fail-if", "bad.p95>20s"]));
    assert!(out.contains("FAILED: fail if success<95%, measured 0%"), "{out}");
    assert!(out.contains("FAILED: fail if p95>20s, measured nothing succeeded"), "{out}");
    assert!(out.contains("passed: fail if bad.p95>20s"), "{out}");
    expect(1, &with(&["--fail-if", "errors>0"]));
    let (out, _) = expect(1, &run);
    assert!(out.contains("FAILED: fail if nothing succeeds, measured 0 of 20 requests"), "{out}");
    expect(0, &with(&["--success", "503", "--fail-if", "errors > 0", "--fail-if", "rps<=0"]));
}

#[test]
fn drops_turn_no_open_loop_into_a_success() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if !peer.send(OK).await {
                return;
            }
        }
    });
    let url = server.url("/");
    let run = ["run", &url, "--rate", "1000", "-c", "10", "-d", "500ms", "--fail-if", "p95>2s"];
    let (out, _) = expect(2, &run);
    assert!(out.contains("the loop was not open"), "{out}");
    expect(0, &[&run[..], &["--fail-if", "dropped>99%"]].concat());
    expect(1, &[&run[..], &["--fail-if", "dropped>1%"]].concat());
}

#[test]
fn every_repeated_run_is_judged_and_the_worst_is_named() {
    // Refuses some requests of the third run.
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let server = Server::start(move |mut peer| {
        let seen = seen.clone();
        async move {
            while peer.request().await.is_some() {
                let busy = (50..60).contains(&seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst));
                if !peer.send(if busy { BUSY } else { OK }).await {
                    return;
                }
            }
        }
    });
    let url = server.url("/");
    let (out, _) = expect(1, &["run", &url, "-n", "20", "-c", "2", "--repeat", "5", "--fail-if", "success<95%"]);
    assert!(out.contains("FAILED: fail if success<95%, measured 50% in run 3, the worst"), "{out}");
    assert!(out.contains("outcomes: 4 held, 1 deviated"), "{out}");
}

/// Stops the generator for a second while it waits for answers that take 200 ms. They lie in its sockets when it goes on.
#[test]
fn a_pause_of_the_generator_is_told_and_makes_no_time_outs() {
    let server = Server::start(|mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if !peer.send(OK).await {
                return;
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
        .args(["run", &server.url("/"), "--rate", "100", "--duration", "2s", "--timeout", "500ms", "--json"])
        .arg(&json)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    while server.seen.requests() < 60 {
        std::thread::yield_now();
    }
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    std::thread::sleep(Duration::from_secs(1));
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(document["errors"], serde_json::json!([]), "an answer in the socket is an answer");
    assert_eq!(document["summary"]["succeeded"], 200);
    let stalls = &document["generator"]["stalls"];
    assert!(stalls["longest_s"].as_f64().unwrap() > 0.8, "{stalls}");
    let invalid = document["verdict"]["invalid"].to_string();
    assert!(invalid.contains("stood still"), "{invalid}");
}

#[test]
fn no_secret_is_kept() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html, prometheus) = (file("a.json"), file("a.html"), file("a.prom"));
    let url = server.url("/data/1?token=xyzzy&limit=5");
    let secrets = ["-H", "X-Api-Key: xyzzy", "--header=Authorization: Bearer xyzzy", "-X", "GET", "--ids", "1..2"];
    let files = ["--json", &json, "--html", &html, "--prometheus", &prometheus];
    let (out, _) = expect(0, &[&["run", url.as_str(), "-n", "5"], &secrets[..], &files].concat());
    assert!(out.contains("limit=5"), "{out}");
    for text in [out, fs::read_to_string(&json).unwrap(), fs::read_to_string(&html).unwrap()] {
        assert!(!text.contains("xyzzy"), "{text}");
    }
    assert!(!fs::read_to_string(&prometheus).unwrap().contains("xyzzy"));
    let (_, err) = expect(2, &["run", "http://h:0/?password=xyzzy"]);
    assert!(!err.contains("xyzzy"), "{err}");
}

#[test]
fn several_urls_and_a_body_from_a_file_need_no_workload() {
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let written = heads.clone();
    let server = Server::start(move |mut peer| {
        let written = written.clone();
        async move {
            while let Some(head) = peer.request().await {
                written.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                if !peer.send(OK).await {
                    return;
                }
            }
        }
    });
    let (a, b) = (server.url("/a"), server.url("/b"));
    expect(0, &["run", &a, &b, "--weights", "1,9", "-n", "200"]);
    let count = |word: &str| heads.lock().unwrap().iter().filter(|head| head.contains(word)).count();
    assert_eq!(count("GET /a") + count("GET /b"), 200);
    assert!((5..40).contains(&count("GET /a")), "{}", count("GET /a"));
    refused(&["weights", "2"], &["run", &a, &b, "--weights", "1"]);
    refused(&["one server"], &["run", &a, "http://127.0.0.1:1/"]);

    let folder = tempfile::tempdir().unwrap();
    let body = folder.path().join("body.txt");
    fs::write(&body, "").unwrap();
    let body = body.to_str().unwrap();
    expect(0, &["run", &a, "--body-file", body, "-n", "5"]);
    assert_eq!(count("POST /a"), 5, "a body is posted unless told otherwise");
    expect(0, &["run", &a, "--body-file", "-", "-X", "PUT", "-n", "5"]);
    assert_eq!(count("PUT /a"), 5, "standard input");
    refused(&["no-such-body"], &["run", &a, "--body-file", "no-such-body"]);
}

#[test]
fn each_request_can_be_kept() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let raw = folder.path().join("a.ndjson");
    let url = server.url("/a");
    expect(
        0,
        &[
            "run",
            &url,
            "--rate",
            "200",
            "-d",
            "500ms",
            "--warmup",
            "100ms",
            "--raw",
            raw.to_str().unwrap(),
            "--repeat",
            "2",
        ],
    );
    let lines: Vec<Value> =
        fs::read_to_string(&raw).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 200, "two runs of a hundred, and no warm-up");
    for line in &lines {
        let at = |name: &str| line[name].as_u64().unwrap();
        assert!(at("planned_ns") <= at("sent_ns") && at("sent_ns") <= at("ended_ns") && at("run") <= 2, "{line}");
        assert_eq!((&line["kind"], &line["status"], &line["good"]), (&"GET /a".into(), &200.into(), &true.into()));
    }
    let (_, err) = expect(2, &["run", &url, "-n", "500", "--raw", "/dev/full"]);
    assert!(err.contains("/dev/full"), "{err}");
}

#[test]
fn an_answer_without_what_it_must_hold_is_no_success() {
    let server = Server::answering(OK);
    let url = server.url("/");
    expect(0, &["run", &url, "-n", "20", "--check", "body:ok", "--check", "header:X-Instance=api"]);
    let (out, _) = expect(1, &["run", &url, "-n", "20", "--check", "json:/id", "--fail-if", "success<95%"]);
    assert!(out.contains("20 × 200 without json:/id"), "{out}");
    refused(&["no check"], &["run", &url, "--check", "status"]);
}

#[test]
fn init_writes_a_workload_that_runs() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    let file = path.to_str().unwrap();
    expect(0, &["init", file]);
    assert_eq!(expect(0, &["init"]).0, fs::read_to_string(&path).unwrap());
    refused(&["w.toml", "exists"], &["init", file]);
    let workload = loadgen::Workload::read(&path).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(workload.plan(&server.url("")).unwrap().kinds(), ["read", "write"]);
}

#[test]
fn conditions_that_cannot_be_read_are_refused() {
    for (condition, word) in [
        ("p95", "none of"),
        ("p100>3ms", "p100"),
        ("kind.nobody.p95>3ms", "nobody"),
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
    #[cfg(not(feature = "tls"))]
    refused(&["https", "TLS", "--features tls"], &["run", "https://127.0.0.1/"]);
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
        (&["rate"], &["--rate", "1e400"]),
        (&["rate"], &["--rate=-5"]),
        (&["rate", "so low"], &["--rate", "1e-9"]),
        (&["weights"], &["--weights", "1,2"]),
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
    assert!(
        err.contains("may open 100") && err.contains("200 connections need 2") && err.contains("ulimit -n 2"),
        "{err}"
    );
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
    for points in ["[[0, 1], [nan, 2]]", "[[0, 1], [inf, 2]]", "[[0, 1], [1, nan]]", "[[0, 1]]", "[]"] {
        let curve = file("d.toml", &format!("length = \"1m\"\npoints = {points}\n"));
        refused(&["d.toml:2:"], &["run", url, "--curve", &curve]);
    }
    refused(&["no-such.toml", "No such file"], &["run", url, "--workload", "no-such.toml"]);
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recorded/open.json");
    let garbage = file("g.json", "{\n \"schema\": 3,\n}\n");
    refused(&["g.json:2:", "not a report"], &["compare", good, &garbage]);
    let other = file("o.json", "{\"schema\": \"load-report/9\"}");
    refused(&["o.json:1:", "load-report/9", "load-report/2"], &["compare", &other, good]);
    let torn = file("t.json", "{\n\"schema\": \"load-report/2\",\n\"plan\": {}\n}\n");
    refused(&["t.json:"], &["report", &torn]);
    let whole = fs::read_to_string(good).unwrap();
    let half = file("h.json", &whole[..whole.len() / 2]);
    refused(&["h.json:", "cut short"], &["report", &half]);
    refused(&["h.json:", "cut short"], &["compare", good, &half]);
    refused(&["/dev/zero", "longer than"], &["run", url, "--workload", "/dev/zero"]);
    refused(&["nothing.json"], &["compare", good, "nothing.json"]);
}

#[test]
fn a_result_that_cannot_be_kept_is_an_error_before_or_after_the_run() {
    let server = Server::answering(OK);
    let url = server.url("/");
    refused(&["no/such/folder"], &["run", &url, "-n", "5", "--json", "no/such/folder/a.json"]);
    assert_eq!(server.seen.requests(), 0, "found out before the run");
    let blind = format!("exec '{}' run http://127.0.0.1:1/ -n 1 2>/dev/full", env!("CARGO_BIN_EXE_load"));
    let status = Command::new("sh").args(["-c", &blind]).status().unwrap();
    assert_eq!(status.code(), Some(2), "an error that cannot be printed is no panic");
    let (out, err) = expect(2, &["run", &url, "-n", "5", "--json", "/dev/full"]);
    assert!(out.contains("Requests per second:"), "the summary is printed all the same: {out}");
    assert!(err.contains("/dev/full") && err.contains("space"), "{err}");
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
