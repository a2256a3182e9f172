//! `lab run` on real servers: what it does to the stack that it is given, and how it ends, whatever happens.

use std::{fs, path::PathBuf};

use lab::{
    journal::{Ending, Journal},
    verdict::{self, Outcome},
};
use rustix::process::Signal;

use crate::support::{Place, wait_until};

/// Redis hangs for a second, or for as long as the test takes.
fn experiment(lasts: &str, undo_at: &str) -> String {
    format!(
        r#"
[about]
name = "short"
question = "Redis hangs for a moment: does a read fail?"

[[arm]]
name = "with"
[arm.stack]
replicas = 1
[arm.stack.env]
CACHE_FRESH = "9s"
[arm.load]
pace = {{ rate = 50.0 }}
lasts = "{lasts}"
ids = [1, 100]
[[arm.load.request]]
path = "/data/{{id}}"
[[arm.probe]]
name = "reader"
path = "/data/1"
[[arm.step]]
at = "1s"
do = {{ fault = {{ target = "redis", kind = "pause" }} }}
[[arm.step]]
at = "{undo_at}"
do = {{ heal = "all" }}

[[hypothesis]]
says = "no read fails"
arm = "with"
measure = "failures"
at_most = 0

[[hypothesis]]
says = "the probe has good answers again within two seconds"
arm = "with"
measure = {{ recover = "reader" }}
at_most = 2
"#
    )
}

impl Place {
    fn experiment(&self, lasts: &str, undo_at: &str) -> String {
        let path = self.beside("short.toml");
        fs::write(&path, experiment(lasts, undo_at)).unwrap();
        path.display().to_string()
    }

    fn out(&self) -> String {
        self.beside("out").display().to_string()
    }

    /// The journal of the only run.
    fn journal(&self) -> Option<PathBuf> {
        let runs = fs::read_dir(self.beside("out").join("short")).ok()?;
        let journals: Vec<_> = runs.filter_map(|run| Some(run.ok()?.path().join("journal.ndjson"))).collect();
        assert!(journals.len() < 2, "{journals:?}");
        journals.into_iter().next()
    }

    /// Whether the run that is under way has broken Redis.
    fn is_broken(&self) -> bool {
        let journal = self.journal().and_then(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        journal.contains(r#""entry":"injected""#)
    }
}

/// As the user started it: neither the experiment's replicas nor its fresh time.
const THEIRS: [&str; 4] = ["--replicas", "2", "--env", "CACHE_FRESH=7s"];

fn assert_as_it_was(place: &Place) {
    let status = place.status();
    assert_eq!(status.replicas.len(), 2);
    assert!(status.faults().next().is_none() && status.session.is_none(), "{status:?}");
    let stack = stack::Stack::connect(&place.folder()).unwrap();
    let topology = stack.topology().unwrap();
    assert_eq!(topology.env, [("CACHE_FRESH".to_owned(), "7s".to_owned())]);
    assert!(["redis", "postgres", "nginx"].iter().all(|target| place.state(target) == "up"));
}

#[test]
fn every_row_of_the_matrix_holds() {
    let place = Place::new();
    // For a build without optimisation, on a machine that runs other tests at the same time.
    let run = place.lab(&["run", "fallbacks", "--quick", "--allowance", "200", "--out", &place.out()]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
    assert!(!place.folder().with_file_name("stack-run").exists(), "the stack of its own is still there");
}

#[test]
fn a_stack_that_is_up_is_used_and_left_as_it_was() {
    let place = Place::new();
    place.up(&THEIRS);
    let run = place.lab(&["run", &place.experiment("4s", "2s"), "--out", &place.out()]);
    assert_eq!(run.code, Some(0), "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("short: HELD") && run.stdout.contains("no read fails"), "{}", run.stdout);
    assert_as_it_was(&place);
    // The same journal gives the same verdict at any time.
    let journal = Journal::read(&place.journal().unwrap()).unwrap();
    assert_eq!(verdict::judge(&journal.run().unwrap()).outcome, Outcome::Held);
}

#[test]
fn an_interrupted_run_undoes_its_fault_and_says_so() {
    let place = Place::new();
    place.up(&THEIRS);
    let run = place.start(&["run", &place.experiment("60s", "50s"), "--out", &place.out()]);
    wait_until("a fault", || place.is_broken());
    run.signal(Signal::INT);
    let ended = run.outcome();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert_as_it_was(&place);
    let journal = Journal::read(&place.journal().unwrap()).unwrap();
    let run = journal.run().unwrap();
    assert_eq!(run.ending, Some(&Ending::Interrupted));
    let verdict = verdict::judge(&run);
    assert_eq!((verdict.exit_code(), verdict.outcome), (130, Outcome::Invalid), "{verdict:?}");
}

#[test]
fn after_a_killed_run_heal_brings_the_stack_back() {
    let place = Place::new();
    place.up(&THEIRS);
    let run = place.start(&["run", &place.experiment("60s", "50s"), "--out", &place.out()]);
    wait_until("a fault", || place.is_broken());
    run.signal(Signal::KILL);
    run.outcome();
    assert_eq!(place.state("redis"), "paused");
    let said = place.ok(&["heal"]);
    assert!(said.contains("the shape again"), "{said}");
    assert_as_it_was(&place);
    // At most the last line is lost; what is left cannot be judged, and says why.
    let journal = Journal::read(&place.journal().unwrap()).unwrap();
    assert!(journal.is_cut);
    let verdict = verdict::judge(&journal.run().unwrap());
    assert_eq!(verdict.outcome, Outcome::Invalid);
    assert!(verdict.invalid[0].contains("has no end"), "{verdict:?}");
}

#[test]
fn a_second_run_is_told_of_the_first() {
    let place = Place::new();
    place.up(&[]);
    let file = place.experiment("60s", "50s");
    let first = place.start(&["run", &file, "--out", &place.out()]);
    wait_until("a fault", || place.is_broken());
    let second = place.lab(&["run", &file, "--out", &place.beside("other").display().to_string()]);
    assert_eq!(second.code, Some(2), "{}", second.stderr);
    assert!(second.stderr.contains("lab run short"), "{}", second.stderr);
    first.signal(Signal::INT);
    assert_eq!(first.outcome().code, Some(130));
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_started() {
    let place = Place::new();
    let refused = |words: &[&str], why: &str| {
        let run = place.lab(&[&["run", "--out", &place.out()], words].concat());
        assert_eq!(run.code, Some(2), "{words:?}: {}", run.stderr);
        assert!(run.stderr.contains(why), "{words:?}: {}", run.stderr);
        assert!(place.processes().is_empty());
    };
    refused(&["redis-puase"], "did you mean `redis-pause`?");
    refused(&["./not-there.toml"], "cannot read ./not-there.toml");
    refused(&["--all", "redis-pause"], "cannot be used with");
    let file = place.experiment("4s", "2s");
    fs::write(&file, experiment("4s", "2s").replace("replicas = 1", "replicas = 1.5")).unwrap();
    refused(&[&file], "line 9");
    fs::write(&file, experiment("4s", "9s")).unwrap();
    refused(&[&file], "begins when the load is over");
}

#[test]
fn a_stack_with_a_fault_is_not_used() {
    let place = Place::new();
    place.up(&[]);
    place.ok(&["fault", "pause", "redis"]);
    let run = place.lab(&["run", &place.experiment("4s", "2s"), "--out", &place.out()]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("redis has a fault already") && run.stderr.contains("lab heal"), "{}", run.stderr);
    assert_eq!(place.state("redis"), "paused", "a fault that is not the run's own stays");
}

#[test]
fn a_dry_run_tells_the_plan_and_touches_nothing() {
    let place = Place::new();
    let run = place.lab(&["run", &place.experiment("4s", "2s"), "--dry-run", "--out", &place.out()]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for part in ["1 replica, CACHE_FRESH=9s", "50 requests per second for 4.0 s", "pause redis", "failures ≤ 0"] {
        assert!(run.stdout.contains(part), "{part} is missing in\n{}", run.stdout);
    }
    assert!(!place.beside("out").exists() && place.processes().is_empty());
}
