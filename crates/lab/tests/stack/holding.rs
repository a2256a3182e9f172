//! A stack that one program has to itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::Command,
};

use stack::{FaultKind, Operation, Stack, StackError, Target};

use crate::support::{Place, wait_until};

#[test]
fn a_second_caller_is_told_who_holds_the_stack_and_the_holders_faults_end_with_its_session() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    let operation = Operation::default();
    let stack = Stack::connect(&place.folder()).unwrap();
    let session = stack.reserve("a test of sessions", &operation).unwrap();
    let injected = session.inject(FaultKind::Pause, Target::Redis, &operation).unwrap();
    assert_eq!(place.state("redis"), "paused");

    let me = format!("`a test of sessions` (pid {}", std::process::id());
    for words in
        [&["fault", "kill", "api-1"][..], &["heal"], &["scale", "2"], &["configure", "--phase", "1"], &["restart"]]
    {
        let outcome = place.lab(words);
        assert!(outcome.code == Some(2) && outcome.stderr.contains(&me), "{words:?}: {outcome:?}");
    }
    assert!(matches!(stack.reserve("another", &operation), Err(StackError::Held { .. })));
    let shown = place.ok(&["status"]);
    assert!(shown.contains(&format!("held by {me}")) && shown.contains("redis  pause, for "), "{shown}");
    let status = place.status();
    assert_eq!(status.session.unwrap().pid(), std::process::id());
    let fault = &status.dependencies.redis.server.faults[0];
    assert_eq!((fault.id, fault.by.as_str()), (injected.id, "a test of sessions"));

    let healed = session.end(&operation).unwrap();
    assert_eq!(healed.len(), 1, "{healed:?}");
    assert_eq!(place.state("redis"), "up");
    assert!(place.status().session.is_none());
    place.ok(&["fault", "pause", "redis"]);
}

#[test]
fn a_panic_undoes_what_the_session_has_broken_and_nothing_else() {
    let place = Place::new();
    place.up(&["--replicas", "1"]);
    place.ok(&["fault", "pause", "nginx"]);
    let operation = Operation::default();
    let folder = place.folder();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let session = Stack::connect(&folder).unwrap().reserve("a run that fails", &operation).unwrap();
        session.inject(FaultKind::Kill, Target::Redis, &operation).unwrap();
        session.inject(FaultKind::ReadOnly, Target::Postgres, &operation).unwrap();
        panic!("as a judge might");
    }));
    assert!(panicked.is_err());
    let status = place.status();
    let left: Vec<_> = status.faults().map(|fault| (fault.target, fault.kind.name())).collect();
    assert_eq!(left, [(Target::Nginx, "pause")]);
    assert!(status.session.is_none());
    assert_eq!(place.state("redis"), "up");
}

#[test]
fn down_asks_the_holder_to_undo_its_faults_and_end() {
    let place = Place::new();
    // A stack of its own, beside the state folder that it is given.
    let mut holder = place.start(&["run", "redis-pause", "--out", &place.beside("out").display().to_string()]);
    let folder = PathBuf::from(format!("{}-run", place.folder().display()));
    let held = || {
        let status = Stack::connect(&folder).and_then(|stack| stack.status());
        status.is_ok_and(|status| status.session.is_some() && status.faults().next().is_some())
    };
    wait_until("a run that holds its stack and has broken something", held);
    let mut down = Command::new(env!("CARGO_BIN_EXE_lab"));
    let down = down.arg("--state-dir").arg(&folder).args(["down", "--purge"]).output().unwrap();
    let said = String::from_utf8_lossy(&down.stderr);
    assert!(down.status.success(), "{down:?}");
    assert!(said.contains("`lab run redis-pause`") && said.contains("asking it to undo"), "{said}");
    wait_until("the end of the run", || holder.has_ended());
    assert_eq!(holder.outcome().code, Some(130));
    assert!(!folder.exists());
}
