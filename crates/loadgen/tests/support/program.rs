//! Runs the program `load` like a user.

use std::process::{Command, Output, Stdio};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_load")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs it and expects this exit code; returns standard output and standard error.
pub(crate) fn expect(code: i32, arguments: &[&str]) -> (String, String) {
    let output = load(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "load {arguments:?}\n{out}\n{err}");
    (out, err)
}

/// Runs it, and expects an error with a message that contains these words.
pub(crate) fn refused(words: &[&str], arguments: &[&str]) {
    let (out, err) = expect(2, arguments);
    for word in words {
        assert!(err.contains(word), "load {arguments:?} says nothing of {word:?}:\n{err}");
    }
    assert!(out.is_empty(), "{out}");
    assert!(!err.contains("panicked"), "{err}");
}
