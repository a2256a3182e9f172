//! Recorded histories, cut down to the calls that prove it, in which a stack broke a promise: the checker still finds
//! each. They were recorded by `lab history --proof` on versions of the API that had the defect.

use std::{fs, path::Path};

use lab::history::{History, Promise, check};

#[test]
fn each_recorded_violation_is_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded");
    let mut found = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        // `nothing-lost-late-put` breaks `nothing-lost`.
        let promise = Promise::ALL.into_iter().find(|promise| name.starts_with(promise.name()));
        let promise = promise.unwrap_or_else(|| panic!("{name} does not begin with the name of a promise"));
        let verdict = check(&History::read(&path).unwrap());
        assert!(verdict.count(promise) > 0, "{name}: {:#?}", verdict.violations);
        found += 1;
    }
    assert!(found > 0, "no recorded history");
}
