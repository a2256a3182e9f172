//! `lab history` as it is called.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// For anything a lab does, on a machine that runs other tests at the same time.
const PATIENCE: Duration = Duration::from_secs(120);

fn lab_history(words: &[&str], place: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(place).arg("history").args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_recorded_history_is_judged_again_and_its_proof_written() {
    let place = tempfile::tempdir().unwrap();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let file = fs::read_dir(recorded).unwrap().next().unwrap().unwrap().path();
    let judged = lab_history(&["--check", file.to_str().unwrap(), "--proof", "proof"], place.path());
    assert_eq!(judged.status.code(), Some(1), "{}", said(&judged));
    assert!(said(&judged).contains("broken"), "{}", said(&judged));
    let proof = fs::read_dir(place.path().join("proof")).unwrap().next().unwrap().unwrap().path();
    let again = lab_history(&["--check", proof.to_str().unwrap()], place.path());
    assert_eq!(again.status.code(), Some(1), "{}", said(&again));
}

#[test]
fn what_is_no_history_is_refused_and_names_its_line() {
    let place = tempfile::tempdir().unwrap();
    let head = r#"{"line":"head","schema":1,"seed":1,"bound_us":1,"window_us":1}"#;
    let future = head.replace("\"schema\":1", "\"schema\":2");
    for (text, says) in [
        ("", "does not begin with a head"),
        ("{}\n", "does not begin with a head"),
        ("\u{0}\n", "does not begin with a head"),
        (future.as_str(), "format 2 is not known"),
        (&format!("{head}\n{{\"line\":\"end\"\n{{\"line\":\"end\"}}\n"), "file.ndjson:2: "),
        // Nothing is wrong in it, and nothing proven.
        (&format!("{head}\n{{\"line\":\"end\"}}\n"), "proves nothing: only 0 writes"),
        (head, "proves nothing: it has no end"),
        // The last line of a recorder that was killed.
        (&format!("{head}\n{{\"line\":\"call\",\"cli"), "proves nothing: it has no end"),
    ] {
        fs::write(place.path().join("file.ndjson"), text).unwrap();
        let judged = lab_history(&["--check", "file.ndjson"], place.path());
        assert_eq!(judged.status.code(), Some(2), "{text}: {}", said(&judged));
        assert!(said(&judged).contains(says), "{text}: {}", said(&judged));
    }
    let missing = lab_history(&["--check", "nowhere.ndjson"], place.path());
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    let both = lab_history(&["--check", "file.ndjson", "--seed", "1"], place.path());
    assert_eq!(both.status.code(), Some(2), "{}", said(&both));
}

#[test]
fn a_recorded_history_is_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("kept.ndjson"), "evidence").unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = place.path().join("kept.ndjson");
    let refused = lab_history(&["--out", out.to_str().unwrap(), "--duration", "5s"], project);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert_eq!(fs::read_to_string(out).unwrap(), "evidence");
}

#[test]
fn an_interrupt_undoes_everything_and_keeps_what_was_recorded() {
    let place = tempfile::tempdir().unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let (state, out) = (place.path().join("stack"), place.path().join("history.ndjson"));
    // The parent process may ignore signals, and children inherit that.
    let mut command = Command::new("env");
    command.arg("--default-signal").arg(env!("CARGO_BIN_EXE_lab")).current_dir(env!("CARGO_MANIFEST_DIR"));
    command.arg("--state-dir").arg(&state).args(["history", "--seed", "3", "--out"]).arg(&out);
    let mut lab = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let recorded = || fs::read_to_string(&out).unwrap_or_default();
    wait_until("calls in the file", || recorded().contains(r#""line":"call""#));
    kill_process(Pid::from_child(&lab), Signal::INT).unwrap();
    let mut status = None;
    wait_until("the end of the lab", || {
        status = lab.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(130));
    assert!(!place.path().join("stack-history").exists(), "the stack's folder is still there");
    let left = processes_in(&place.path().display().to_string());
    assert!(left.is_empty(), "left behind: {left:#?}");

    // What there is can be read, and proves nothing.
    let judged = lab_history(&["--check", out.to_str().unwrap()], place.path());
    assert!(!recorded().contains(r#""line":"end""#), "an interrupted recording has no end");
    assert!(said(&judged).contains("writes acknowledged"), "{}", said(&judged));
    assert_ne!(judged.status.code(), Some(0), "{}", said(&judged));
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Command lines that name this folder, or run in it.
fn processes_in(folder: &str) -> Vec<String> {
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let command = fs::read_to_string(entry.path().join("cmdline")).ok()?.replace('\0', " ");
        let cwd = fs::read_link(entry.path().join("cwd")).unwrap_or_default().display().to_string();
        (command.contains(folder) || cwd.contains(folder)).then_some(command)
    });
    processes.collect()
}
