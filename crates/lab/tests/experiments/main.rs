//! The experiments as data: what they are is written down, their pages are current, and every hypothesis can deviate.

mod mutations;
mod pages;
mod snapshots;

use std::path::{Path, PathBuf};

/// A folder of the checkout.
fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)
}

/// An environment variable of the test run.
#[expect(clippy::disallowed_methods, reason = "a test is told by the environment to write its files")]
fn variable(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}

/// Whether files are to be written anew.
fn update() -> bool {
    variable("UPDATE_DOCS").is_some()
}

/// Holds a file against what it has to be, or writes it.
fn is_current(file: &Path, wanted: &str) -> bool {
    if update() {
        std::fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        std::fs::write(file, wanted).expect("the file is written");
    }
    std::fs::read_to_string(file).is_ok_and(|there| there == wanted)
}
