//! Valid workload and curve files, and one of each kind of error.

use std::fs;

use super::*;
use crate::plan::Load;

fn read(text: &str) -> Result<Workload, LoadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.toml");
    fs::write(&path, text).unwrap();
    Workload::read(&path)
}

/// The line and the reason of an invalid workload.
fn fault(text: &str) -> (usize, String) {
    match read(text).unwrap_err() {
        LoadError::File { line, reason, .. } => (line, reason),
        other => panic!("{other}"),
    }
}

#[test]
fn a_whole_workload_becomes_a_plan() {
    let text = r#"
description = "reads and writes"
[load]
stages = "10:1s,10..20:2s"
arrivals = "poisson"
connections = 50
timeout = "500ms"
keep_alive = false
retries = { attempts = 3, backoff = "10ms", on = "503" }
[variables.id]
range = [1, 1000]
pick = "zipf"
skew = 1.1
[[request]]
path = "/data/{id}"
weight = 9
[[request]]
method = "POST"
path = "/data"
headers = { Content-Type = "application/json" }
body = '{"name":"n{n}","value":"v"}'
"#;
    let plan = read(text).unwrap().plan("http://h:1").unwrap();
    assert_eq!((plan.connections, plan.keep_alive, plan.requests.len()), (50, false, 2));
    assert_eq!((plan.retries.attempts, plan.retries.backoff_ms), (3, 10.0));
    assert!(matches!(plan.load, Load::Open { ref curve, .. } if curve.length() == Duration::from_secs(3)));
}

#[test]
fn the_line_at_fault_is_named() {
    let request = "[[request]]\npath = \"/\"\n";
    for (text, line, word) in [
        ("[load\n", 1, ""),
        ("[load]\nconections = 3\n", 2, "conections"),
        ("[load]\nconnections = -3\n", 2, ""),
        (&format!("[load]\nduration = \"3\"\n{request}"), 2, "needs a unit"),
        (&format!("[load]\nrate = -1\n{request}"), 2, "between"),
        (&format!("[load]\nrate = 1\nstages = \"1:1s\"\n{request}"), 3, "exclude"),
        (&format!("[load]\nstages = \"1\"\n{request}"), 2, "stage"),
        (&format!("[load]\nsuccess = \"7xx\"\n{request}"), 2, "7xx"),
        (&format!("[variables.id]\nrange = [2, 1]\n{request}"), 1, "empty"),
        (&format!("{request}[[request]]\npath = \"/a b\"\n"), 4, "spaces"),
        (&format!("{request}[[request]]\nweight = 0\npath = \"/\"\n"), 4, "weight"),
        ("[[request]]\npath = \"/{nobody}\"\n", 2, "nobody"),
        ("[[request]]\nmethod = \"G T\"\npath = \"/\"\n", 2, "method"),
        ("description = \"empty\"\nrequest = []\n", 1, "no [[request]]"),
    ] {
        let (at, reason) = fault(text);
        assert_eq!(at, line, "{text:?}: {reason}");
        assert!(reason.contains(word), "{text:?}: {reason}");
    }
    assert!(matches!(Workload::read(Path::new("no/such.toml")), Err(LoadError::Io { .. })));
}

#[test]
fn a_workload_has_its_own_paths() {
    let workload = read("[[request]]\npath = \"/\"\n").unwrap();
    assert!(workload.plan("http://h/data").unwrap_err().to_string().contains("own paths"));
}

#[test]
fn a_day_of_users_becomes_two_minutes_of_requests() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("day.toml");
    let day = "length = \"2m\"\nrequests_per_second_per_unit = 0.5\npoints = [[0, 260], [12, 1900], [24, 260]]\n";
    fs::write(&path, day).unwrap();
    let curve = read_curve(&path).unwrap();
    assert_eq!(curve.length(), Duration::from_secs(120));
    assert_eq!((curve.stages()[0].from, curve.stages()[0].to), (130.0, 950.0));

    for (text, line) in [
        ("length = \"2m\"\npoints = [\n [1, 2],\n [2, 2] ]\n", 3),
        ("length = \"2m\"\npoints = [\n [0, 2],\n [0, 2] ]\n", 4),
        ("length = \"0s\"\npoints = [[0, 2], [1, 2]]\n", 1),
        ("length = \"2m\"\npoints = [[0, -2], [1, 2]]\n", 2),
        ("length = \"2m\"\npoints = [[0, 2]]\n", 2),
    ] {
        fs::write(&path, text).unwrap();
        assert!(matches!(read_curve(&path), Err(LoadError::File { line: at, .. }) if at == line), "{text:?}");
    }
}
