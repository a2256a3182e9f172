//! Every row of the fallback matrix on real servers, held to its bound.

use std::path::Path;

use lab::{
    Settings,
    fallbacks::{self, Plan},
};
use stack::{DriverKind, HostEnvironment, Operation, UpOptions};

/// For a build without optimisation, on a machine that runs other tests at the same time.
const ALLOWANCE: f64 = 2.0;

#[test]
fn every_row_of_the_matrix_holds() {
    let api = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("api");
    assert!(api.exists(), "this test runs the API: build it first with `cargo build -p api`");
    let place = tempfile::tempdir().expect("a temporary folder");
    let settings = Settings::from_environment().expect("an environment");
    let up = UpOptions {
        driver: DriverKind::Process,
        folder: place.path().to_owned(),
        project: settings.project.clone().expect("the tests run inside the project"),
        // The lock on a table is held by a process of the lab.
        host: HostEnvironment { agent: env!("CARGO_BIN_EXE_lab").into(), ..settings.host },
        replicas: 3,
        phase: None,
        env: Vec::new(),
        port: Some(0),
        cpus: None,
        api,
        install: false,
    };
    let rows = fallbacks::run(&Plan::new(up, place.path().join("stack"), ALLOWANCE), &Operation::default());
    let rows = rows.expect("the matrix runs");
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in &rows {
        assert!(row.deviations.is_empty(), "{}: {:#?}", row.name(), row.deviations);
    }
    // The page comes from the same rows.
    let page = fallbacks::render(&rows);
    assert_eq!(page.lines().filter(|line| line.contains("≤ 300") || line.contains("≤ 80")).count(), rows.len());
}
