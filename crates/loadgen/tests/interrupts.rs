//! Signals in each phase of a run: the program ends in time, and keeps what it has.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/program.rs"]
#[expect(dead_code, reason = "the tests of the command line need more of it")]
mod program;
#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of the counts need more of it")]
mod server;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use program::text;
use rustix::process::Signal;
use serde_json::Value;
use server::{OK, Server};

#[test]
fn whatever_ends_a_run_its_report_is_written() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let before = server.seen.requests();
        let mut child = Command::new(env!("CARGO_BIN_EXE_load"))
            .args(["run", &server.url("/"), "--rate", "100", "--duration", "10m", "--json"])
            .arg(&json)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // The run has started, and so its handler is installed, when requests arrive.
        while server.seen.requests() < before + 20 {
            std::thread::yield_now();
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}: {out}");
        assert!(out.contains("Verdict:                interrupted"), "{out}");
        let document: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
        assert!(document["summary"]["sent"].as_u64().unwrap() >= 20);
    }
}

/// Starts `load` and waits until a signal no longer ends it by itself.
fn start_listening(arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
    let child = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let end = Instant::now() + Duration::from_secs(10);
    let is_listening = || {
        let text = fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
        u64::from_str_radix(caught.trim(), 16).unwrap() & (1 << (Signal::TERM.as_raw() - 1)) != 0
    };
    while !is_listening() {
        assert!(Instant::now() < end, "it listens for no signal");
        std::thread::yield_now();
    }
    child
}

fn terminate(child: Child) -> Output {
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_signal_ends_what_has_not_begun() {
    // A full queue of connections: a new one waits.
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    bind(&listener, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    listen(&listener, 0).unwrap();
    let listener = std::net::TcpListener::from(listener);
    let address = listener.local_addr().unwrap();
    let wait = Duration::from_millis(200);
    let queued: Vec<_> = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, wait).ok()).collect();
    assert!(queued.len() < 10, "{}", queued.len());

    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("a.json");
    let url = format!("http://{address}/");
    let program = format!("exec sleep 1000 # {}", folder.path().display());
    for arguments in [["run", &url, "-n", "1"], ["ab", &program, &program, "--target=http://127.0.0.1:1/"]] {
        let child = start_listening(&[&arguments[..], &["--json", json.to_str().unwrap()]].concat());
        let output = terminate(child);
        assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
        assert!(text(&output.stderr).contains("interrupted before"), "{}", text(&output.stderr));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
    }
}

#[test]
fn a_signal_ends_the_writing_of_a_result_that_nobody_reads() {
    let server = Server::answering(OK);
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("page.html");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Open at both ends, and full.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut both = fs::File::options().read(true).write(true).custom_flags(flags).open(&pipe).unwrap();
    while both.write(&[0; 4096]).is_ok() {}
    let mut child = start_listening(&["run", &server.url("/"), "-n", "20", "--html", pipe.to_str().unwrap()]);
    // The summary comes first; then the page is written.
    let mut summary = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(summary.any(|line| line.starts_with("Generator:")));
    let output = terminate(child);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("before the results were written"), "{}", text(&output.stderr));
}
