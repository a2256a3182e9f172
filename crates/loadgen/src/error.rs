//! The reasons why a run cannot start or its result cannot be stored. A failure *during* a run is not an error of this
//! crate: it is counted, see [`crate::outcome`].

use std::io;
use std::path::PathBuf;

/// Why a run could not be started, read or written. The user can correct each of these, and the message says how.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot use the URL {url:?}: {reason}")]
    Url { url: String, reason: &'static str },

    #[error("cannot resolve the host {host:?}: {source}")]
    Resolve { host: String, source: io::Error },

    #[error("cannot connect to {authority} ({address}): {source}; is the server running and the port right?")]
    Unreachable { authority: String, address: String, source: io::Error },

    #[error("{what} {reason}")]
    Setting { what: &'static str, reason: String },

    #[error(
        "{connections} connections need {needed} open files, but this process may open {limit}: use fewer connections, or raise \
         the limit with `ulimit -n {needed}` (above the hard limit: as root, or in /etc/security/limits.conf)"
    )]
    Descriptors { connections: usize, needed: u64, limit: u64 },

    #[error("{}:{line}: {reason}", path.display())]
    File { path: PathBuf, line: usize, reason: String },

    #[error("cannot {verb} {}: {source}", path.display())]
    Io { verb: &'static str, path: PathBuf, source: io::Error },

    #[error("cannot read the condition {text:?}: {reason}")]
    Condition { text: String, reason: String },

    #[error("interrupted before {what}")]
    Interrupted { what: &'static str },

    #[error("cannot {what}: {source}")]
    System { what: &'static str, source: io::Error },
}

impl LoadError {
    pub(crate) fn setting(what: &'static str, reason: impl Into<String>) -> Self {
        Self::Setting { what, reason: reason.into() }
    }
}
