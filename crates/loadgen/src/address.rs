//! Where connections go: the addresses behind a target, taken in turn.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

/// One address that connections can be opened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// The path of a socket.
    Unix(PathBuf),
}

impl Address {
    /// Opens a connection and closes it again; no request is sent.
    pub(crate) fn probe(&self, timeout: Duration) -> std::io::Result<()> {
        match self {
            Self::Tcp(address) => TcpStream::connect_timeout(address, timeout).map(drop),
            Self::Unix(path) => UnixStream::connect(path).map(drop),
        }
    }

    /// Begins to connect, without waiting.
    pub(crate) fn connect(&self) -> Result<OwnedFd, Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let begun = |done: Result<(), Errno>| match done {
            Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
            Err(errno) => Err(errno),
        };
        match self {
            Self::Tcp(address) => {
                let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
                let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
                sockopt::set_tcp_nodelay(&socket, true)?;
                begun(rustix::net::connect(&socket, address))?;
                Ok(socket)
            }
            Self::Unix(path) => {
                let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
                begun(rustix::net::connect(&socket, &SocketAddrUnix::new(path)?))?;
                Ok(socket)
            }
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

/// At least one address, and whose turn it is.
#[derive(Clone, Debug)]
pub struct Addresses {
    all: Vec<Address>,
    next: usize,
}

impl Addresses {
    /// None when there is no address.
    #[must_use]
    pub fn new(all: Vec<Address>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all, next: 0 })
    }

    /// In the order in which they are taken.
    #[must_use]
    pub fn all(&self) -> &[Address] {
        &self.all
    }

    /// The same ones, beginning elsewhere: threads do not all begin with the first.
    pub(crate) fn beginning_at(mut self, index: usize) -> Self {
        self.next = index % self.all.len();
        self
    }

    pub(crate) fn next(&mut self) -> &Address {
        let at = self.next;
        self.next = (at + 1) % self.all.len();
        &self.all[at]
    }
}

impl From<Address> for Addresses {
    fn from(address: Address) -> Self {
        Self { all: vec![address], next: 0 }
    }
}

impl From<SocketAddr> for Addresses {
    fn from(address: SocketAddr) -> Self {
        Address::Tcp(address).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_take_turns() {
        let address = |port| Address::Tcp(SocketAddr::from(([127, 0, 0, 1], port)));
        let mut addresses = Addresses::new(vec![address(1), address(2), address(3)]).unwrap().beginning_at(4);
        let turns: Vec<Address> = (0..4).map(|_| addresses.next().clone()).collect();
        assert_eq!(turns, [address(2), address(3), address(1), address(2)]);
        assert!(Addresses::new(Vec::new()).is_none());
    }
}
