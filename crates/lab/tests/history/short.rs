//! The short form: twenty-two seconds of writes, reads and faults on a stack of its own.

use std::{path::Path, time::Duration};

use lab::{
    Settings,
    history::{self, Aim, Plan},
};
use stack::{DriverKind, Operation, UpOptions};

/// Longer than the defaults, so that a dependency counts as silent when it is broken and not when the machine is busy.
const PATIENT: [(&str, &str); 2] = [("REDIS_ATTEMPT_TIMEOUT", "80ms"), ("REDIS_TIMEOUT", "160ms")];

/// Its schedule begins with a replica that is paused while Redis forgets everything, and has nearly every other fault.
const SEED: u64 = 9753;

#[test]
fn every_promise_holds_under_faults() {
    hold_under_faults(SEED, false);
}

/// The same faults, with the bound of the near cache.
#[test]
fn every_promise_holds_with_near_caches() {
    hold_under_faults(SEED, true);
}

fn hold_under_faults(seed: u64, near_cache: bool) {
    let api = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("api");
    assert!(api.exists(), "this test runs the API: build it first with `cargo build -p api`");
    let place = tempfile::tempdir().unwrap();
    let settings = Settings::from_environment().unwrap();
    let up = UpOptions {
        driver: DriverKind::Process,
        folder: place.path().join("stack"),
        project: settings.project.clone().unwrap(),
        host: settings.host,
        replicas: 3,
        phase: None,
        env: PATIENT.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        port: Some(0),
        cpus: None,
        api,
        install: false,
    };
    let out = place.path().join("history.ndjson");
    let plan = Plan { up, duration: Duration::from_secs(22), seed, near_cache, aim: Aim::default(), out: out.clone() };
    let recorded = history::record(&plan, &Operation::default()).unwrap();
    let verdict = history::check(&recorded);
    let first = verdict.violations.first().map(|violation| recorded.excerpt(violation));
    let proof = first.map(|excerpt| excerpt.lines().map(|line| format!("{line:?}\n")).collect::<String>());
    assert!(verdict.violations.is_empty(), "{:#?}\n{}", verdict.violations, proof.unwrap_or_default());
    assert_eq!(verdict.too_weak(&recorded.head), None, "{verdict:?}");

    // The file says the same as the memory.
    let read = history::History::read(&out).unwrap();
    assert!(read == recorded, "the file differs from what was recorded");
}
