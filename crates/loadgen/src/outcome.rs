//! The closed lists by which results are counted: how a request ends, where an answer comes from, and the few names
//! (replicas, problem codes) that servers choose themselves.

use serde::{Deserialize, Serialize};

/// Why a request got no answer. An answer with any status is counted by its status instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The port refuses connections.
    ConnectRefused,
    /// There is no route to the host.
    ConnectFailed,
    /// Not connected within the time-out.
    ConnectTimeout,
    /// Connected, but not answered completely within the time-out.
    Timeout,
    /// The connection was reset in the middle of a request.
    Reset,
    /// A kept-alive connection that had been idle was lost right after the next request was sent. This is the race of every
    /// pooled client with the server's end of the connection, not a failure of the request. A request with an idempotent
    /// method is first sent again, and is only counted when that fails in the same way.
    ResetReused,
    /// The server closed the connection before the answer was complete.
    Closed,
    /// The answer is not valid HTTP.
    Protocol,
    /// The generator itself ran out of ports, files or memory: the run says nothing about the server.
    Local,
}

impl ErrorClass {
    pub const ALL: [Self; 9] = [
        Self::ConnectRefused,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::Timeout,
        Self::Reset,
        Self::ResetReused,
        Self::Closed,
        Self::Protocol,
        Self::Local,
    ];

    /// The name in JSON, tables and workload files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ConnectRefused => "connect_refused",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::ResetReused => "reset_reused",
            Self::Closed => "closed",
            Self::Protocol => "protocol",
            Self::Local => "local",
        }
    }
}

/// Where an answer came from, according to `Cache-Status` (RFC 9211).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheResult {
    Hit,
    /// An old entry, served because no newer one was available.
    Stale,
    Miss,
    Bypass,
    Other,
}

impl CacheResult {
    pub const ALL: [Self; 5] = [Self::Hit, Self::Stale, Self::Miss, Self::Bypass, Self::Other];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Other => "other",
        }
    }

    /// Parses the header's value; of several caches, the one that answered counts.
    pub(crate) fn read(value: &[u8]) -> Self {
        let mut result = Self::Other;
        for parameter in value.split(|b| matches!(b, b';' | b',')).map(<[u8]>::trim_ascii) {
            result = match parameter {
                b"hit" => Self::Hit,
                b"detail=stale" if result == Self::Hit => return Self::Stale,
                b"fwd=miss" | b"fwd=uri-miss" | b"fwd=vary-miss" | b"fwd=stale" if result == Self::Other => Self::Miss,
                b"fwd=bypass" if result == Self::Other => Self::Bypass,
                _ => result,
            };
        }
        result
    }
}

/// A name chosen by a server, as a small number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(u16);

impl Label {
    /// No name was given.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The names seen so far, limited in number and length. If a server uses a new name for each answer, the rest are
/// counted as `(other)`.
#[derive(Debug)]
pub(crate) struct Labels {
    names: Vec<Box<str>>,
}

/// A table with more replicas or codes would not be readable.
const MAX_LABELS: usize = 128;
const MAX_LABEL_BYTES: usize = 64;

impl Default for Labels {
    fn default() -> Self {
        Self { names: vec!["".into(), "(other)".into()] }
    }
}

impl Labels {
    /// Finds the name, or adds it. For a handful of names a linear search is faster than hashing.
    pub(crate) fn intern(&mut self, name: &[u8]) -> Label {
        let name = &name[..name.len().min(MAX_LABEL_BYTES)];
        let known = self.names.iter().position(|known| known.as_bytes() == name);
        Label(known.unwrap_or_else(|| self.add(name)) as u16)
    }

    #[cold]
    fn add(&mut self, name: &[u8]) -> usize {
        let name: String =
            String::from_utf8_lossy(name).chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
        match self.names.iter().position(|known| **known == *name) {
            Some(known) => known,
            None if self.names.len() >= MAX_LABELS => 1,
            None => {
                self.names.push(name.into());
                self.names.len() - 1
            }
        }
    }

    /// The names by their labels' index.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    #[cfg(test)]
    pub(crate) fn name(&self, label: Label) -> &str {
        &self.names[label.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cache_status_as_the_api_writes_it() {
        for (value, result) in [
            ("redis; hit; ttl=27", CacheResult::Hit),
            ("redis; hit; detail=stale", CacheResult::Stale),
            ("redis; fwd=uri-miss; stored", CacheResult::Miss),
            ("redis; fwd=bypass; detail=timeout", CacheResult::Bypass),
            ("redis; fwd=uri-miss, edge; hit", CacheResult::Hit),
            ("edge; fwd=method", CacheResult::Other),
            ("", CacheResult::Other),
        ] {
            assert_eq!(CacheResult::read(value.as_bytes()), result, "{value}");
        }
    }

    #[test]
    fn names_are_kept_once_and_within_bounds() {
        let mut labels = Labels::default();
        let one = labels.intern(b"api-1");
        assert_eq!((labels.intern(b"api-1"), labels.name(one)), (one, "api-1"));
        assert_eq!(labels.intern(b"\xff\x00"), labels.intern(b"\xff\x00"), "also when it is no UTF-8");
        for n in 0..1_000 {
            labels.intern(format!("api-{n}").as_bytes());
        }
        let beyond = labels.intern(b"yet another");
        assert_eq!((labels.name(beyond), labels.names.len()), ("(other)", MAX_LABELS));
        let long = labels.intern(&[b'x'; 1_000]);
        assert!(labels.name(long).len() <= MAX_LABEL_BYTES);
    }

    #[test]
    fn each_class_has_the_word_that_serde_writes() {
        for class in ErrorClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.word());
        }
    }
}
