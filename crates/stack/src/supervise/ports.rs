//! Chooses free ports, and reserves them until the server has bound them.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
};

use crate::StackError;

/// How far above the usual port the search for a free one goes.
const SEARCH: u16 = 1000;

/// Below the range from which the kernel takes ports for outgoing connections (32768 by default): a port in that range
/// could be taken when a killed server restarts.
const RANDOM: std::ops::Range<u16> = 20_000..30_000;

/// A chosen port. Another stack that starts at the same time sees it as taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    pub port: u16,
    _name: UnixListener,
}

/// Where to look for ports.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Choice {
    /// The usual port or the next free one after it.
    FromUsual,
    /// A random port; for stacks that must not collide, like those of tests.
    Random,
}

impl Choice {
    pub(crate) fn lease(self, usual: u16) -> Result<Lease, StackError> {
        let start = match self {
            Self::FromUsual => usual,
            Self::Random => RANDOM.start + super::random::number()? % (RANDOM.end - RANDOM.start - SEARCH),
        };
        let found = (start..start.saturating_add(SEARCH)).find_map(lease);
        found.ok_or_else(|| {
            StackError::Conflict(format!("no free port on 127.0.0.1 from {start} to {}", start + SEARCH))
        })
    }
}

/// Exactly this port.
pub(crate) fn lease_exactly(port: u16) -> Result<Lease, StackError> {
    lease(port).ok_or_else(|| StackError::PortTaken { port, holder: holder(port) })
}

/// Whether a server can listen there now.
pub(crate) fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

fn lease(port: u16) -> Option<Lease> {
    // A name in the abstract socket namespace: it leaves no file and ends with its process.
    let name = SocketAddr::from_abstract_name(format!("phase-observation/port/{port}")).ok()?;
    let lease = Lease { port, _name: UnixListener::bind_addr(&name).ok()? };
    is_free(port).then_some(lease)
}

/// The process that listens on a port, for messages.
pub(crate) fn holder(port: u16) -> String {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| listening_sockets(&table, port))
        .collect();
    if sockets.is_empty() {
        return "another stack that is starting, or a connection that is closing".to_owned();
    }
    let owner = super::table::entries().into_iter().find(|entry| {
        let Ok(files) = fs::read_dir(format!("/proc/{}/fd", entry.id.pid)) else {
            return false;
        };
        files.flatten().filter_map(|file| fs::read_link(file.path()).ok()).any(|link| {
            let link = link.to_string_lossy();
            link.strip_prefix("socket:[")
                .and_then(|rest| rest.strip_suffix(']'))
                .is_some_and(|s| sockets.iter().any(|x| x == s))
        })
    });
    owner.map_or_else(
        || "a process of another user or container".to_owned(),
        |entry| format!("`{}` (pid {})", entry.name, entry.id.pid),
    )
}

/// The inode numbers of sockets that listen on this port, from the text of `/proc/net/tcp`.
fn listening_sockets(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields.len() > 9 && fields[1].ends_with(&suffix) && fields[3] == LISTEN)
        .map(|fields| fields[9].to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leases_never_share_a_port() {
        let first = Choice::Random.lease(0).unwrap();
        assert!(is_free(first.port));
        assert!(lease_exactly(first.port).is_err());
        let port = first.port;
        drop(first);
        assert_eq!(lease_exactly(port).unwrap().port, port);
    }

    #[test]
    fn a_taken_port_is_skipped_and_its_holder_named() {
        let (listener, port) = loop {
            let port = Choice::Random.lease(0).unwrap().port;
            if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                break (listener, port);
            }
        };
        assert!(Choice::FromUsual.lease(port).unwrap().port > port);
        let text = lease_exactly(port).unwrap_err().to_string();
        assert!(text.contains(&format!("pid {}", std::process::id())), "{text}");
        drop(listener);
    }
}
