//! The errors of this crate, worded for the user at the terminal.

use std::{fmt, io, path::PathBuf};

use crate::{Healed, Holder, Target};

/// Each variant's text says what happened and, if there is one, the next step.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    #[error("no stack is running in {folder} (start one with `lab up`)")]
    NotRunning { folder: PathBuf },

    #[error("a stack is already running in {folder} ({detail}); see `lab status`, stop it with `lab down`")]
    AlreadyRunning { folder: PathBuf, detail: String },

    #[error("another lab is running in {folder} ({holder}); wait for it, or stop it with Ctrl-C")]
    Busy { folder: PathBuf, holder: String },

    #[error(
        "the stack is held by {holder}; wait until it ends, or use `lab down`, which asks it to undo its faults and end"
    )]
    Held { holder: Holder },

    #[error("interrupted")]
    Interrupted,

    /// The request is invalid, whatever the stack's state.
    #[error("{0}")]
    Usage(String),

    #[error("unknown target `{given}`: this stack has {}", list(valid))]
    UnknownTarget { given: String, valid: Vec<Target> },

    /// The request conflicts with the stack's present state.
    #[error("{0}")]
    Conflict(String),

    /// A fault whose effect could not be observed from outside.
    #[error("{0}")]
    NotConfirmed(String),

    /// Some faults could not be healed; all others are healed.
    #[error("not healed:{}", failed.iter().map(|text| format!("\n  {text}")).collect::<String>())]
    NotAllHealed { healed: Vec<Healed>, failed: Vec<String> },

    #[error("not permitted: {what}. {remedy}")]
    NotPermitted { what: String, remedy: String },

    #[error("port {port} on 127.0.0.1 is taken by {holder}; free it, or choose another with --port")]
    PortTaken { port: u16, holder: String },

    #[error("missing on this machine: {missing}. {remedy}")]
    MissingPrograms { missing: String, remedy: String },

    #[error("{server} did not start: {reason}{}", quote(log, tail))]
    Start { server: String, reason: String, log: PathBuf, tail: String },

    #[error("`{command}` failed: {detail}")]
    Command { command: String, detail: String },

    #[error("cannot read {path} ({detail}); `lab down` still stops everything that was started from it")]
    Record { path: PathBuf, detail: String },

    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

fn list(targets: &[Target]) -> String {
    targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn quote(log: &std::path::Path, tail: &str) -> String {
    if tail.is_empty() {
        return format!("\n  (its log {} is empty)", log.display());
    }
    let lines: String = tail.lines().map(|line| format!("\n  | {line}")).collect();
    format!("\n  end of {}:{lines}", log.display())
}

/// Adds what was being done when the operating system returned an error.
pub(crate) trait Context<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, StackError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|source| StackError::Io { what: what(), source })
    }
}

impl<T> Context<T> for Result<T, rustix::io::Errno> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, StackError> {
        self.map_err(|errno| StackError::Io { what: what(), source: errno.into() })
    }
}

/// `cannot write /x/y`: the usual wording for a failed file operation.
pub(crate) fn cannot(verb: &str, path: impl fmt::Debug) -> String {
    format!("cannot {verb} {path:?}")
}
