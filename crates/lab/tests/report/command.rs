//! `lab report` as it is called.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use crate::recorded::JOURNAL;

fn lab_report(words: &[&str], place: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.current_dir(place).arg("report").args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn put(place: &Path, run: &str, text: &str) {
    let folder = place.join(run);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("journal.ndjson"), text).unwrap();
}

/// The same run with only what held.
fn held() -> String {
    let end = JOURNAL.find('\n').unwrap();
    let mut begin: serde_json::Value = serde_json::from_str(&JOURNAL[..end]).unwrap();
    let hypotheses = begin["experiment"]["hypothesis"].as_array_mut().unwrap();
    hypotheses.retain(|one| one["says"] == "no GET fails");
    assert_eq!(hypotheses.len(), 1);
    format!("{begin}{}", &JOURNAL[end..])
}

#[test]
fn a_folder_gets_reports_and_an_index_with_the_history() {
    let place = tempfile::tempdir().unwrap();
    put(place.path(), "out/replica-crash/1", &held());
    put(place.path(), "out/replica-crash/2", &held().replace("2026-11-25", "2026-11-26"));
    let output = lab_report(&["out"], place.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("1 of   1 held"), "{}", said(&output));
    let index = fs::read_to_string(place.path().join("out/index.html")).unwrap();
    for page in ["replica-crash/1/report.html", "replica-crash/2/report.html"] {
        assert!(index.contains(&format!("href=\"{page}\"")), "{page}");
        assert!(place.path().join("out").join(page).is_file(), "{page}");
    }
    assert!(index.contains("2 runs of 1 experiment."), "the history");
    let again = lab_report(&["out"], place.path());
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
}

#[test]
fn the_exit_code_is_that_of_the_worst() {
    let place = tempfile::tempdir().unwrap();
    put(place.path(), "held", &held());
    put(place.path(), "deviated", JOURNAL);
    put(place.path(), "future", &JOURNAL.replacen("lab-journal/1", "lab-journal/9", 1));
    put(place.path(), "cut", &held()[..held().len() - 30]);
    let code = |words: &[&str]| lab_report(words, place.path()).status.code();
    assert_eq!(code(&["held/journal.ndjson"]), Some(0));
    assert_eq!(code(&["deviated/journal.ndjson"]), Some(1));
    assert_eq!(code(&["cut/journal.ndjson"]), Some(2));
    assert_eq!(code(&["future/journal.ndjson", "held/journal.ndjson"]), Some(2));
    let all = lab_report(&["."], place.path());
    assert_eq!(all.status.code(), Some(1), "{}", said(&all));
    assert!(said(&all).contains("lab-journal/9"), "what was not read is told: {}", said(&all));
    assert!(fs::read_to_string(place.path().join("index.html")).unwrap().contains("lab-journal/9"));
}

#[test]
fn what_cannot_be_reported_is_told() {
    let place = tempfile::tempdir().unwrap();
    fs::create_dir(place.path().join("empty")).unwrap();
    let empty = lab_report(&["empty"], place.path());
    assert_eq!(empty.status.code(), Some(2));
    assert!(said(&empty).contains("there is no journal in empty"), "{}", said(&empty));
    let missing = lab_report(&["nowhere"], place.path());
    assert_eq!(missing.status.code(), Some(2));
    assert!(said(&missing).contains("cannot read nowhere"), "{}", said(&missing));
    assert_eq!(lab_report(&[], place.path()).status.code(), Some(2));
}

#[test]
fn histories_and_other_files_of_a_folder_are_passed_over() {
    let place = tempfile::tempdir().unwrap();
    put(place.path(), "run", &held());
    fs::write(place.path().join("history-7.ndjson"), "{\"schema\":\"lab-history/1\"}\n").unwrap();
    fs::write(place.path().join("index.html"), "<!doctype html>mine").unwrap();
    let output = lab_report(&["."], place.path());
    assert_eq!(output.status.code(), Some(2), "the index is not the lab's: {}", said(&output));
    assert!(said(&output).contains("was not written by the lab"), "{}", said(&output));
    fs::remove_file(place.path().join("index.html")).unwrap();
    let output = lab_report(&["."], place.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
}
