//! `lab history` as it is called.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn lab(words: &[&str], place: &Path) -> Output {
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
    let judged = lab(&["--check", file.to_str().unwrap(), "--proof", "proof"], place.path());
    assert_eq!(judged.status.code(), Some(1), "{}", said(&judged));
    assert!(said(&judged).contains("broken"), "{}", said(&judged));
    let proof = fs::read_dir(place.path().join("proof")).unwrap().next().unwrap().unwrap().path();
    let again = lab(&["--check", proof.to_str().unwrap()], place.path());
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
        let judged = lab(&["--check", "file.ndjson"], place.path());
        assert_eq!(judged.status.code(), Some(2), "{text}: {}", said(&judged));
        assert!(said(&judged).contains(says), "{text}: {}", said(&judged));
    }
    let missing = lab(&["--check", "nowhere.ndjson"], place.path());
    assert_eq!(missing.status.code(), Some(2), "{}", said(&missing));
    let both = lab(&["--check", "file.ndjson", "--seed", "1"], place.path());
    assert_eq!(both.status.code(), Some(2), "{}", said(&both));
}

#[test]
fn a_recorded_history_is_never_overwritten() {
    let place = tempfile::tempdir().unwrap();
    fs::write(place.path().join("kept.ndjson"), "evidence").unwrap();
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = place.path().join("kept.ndjson");
    let refused = lab(&["--out", out.to_str().unwrap(), "--duration", "5s"], project);
    assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
    assert_eq!(fs::read_to_string(out).unwrap(), "evidence");
}
