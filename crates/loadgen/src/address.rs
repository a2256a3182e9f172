//! The addresses of a target, used in turn for new connections.

use std::fmt;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, ipproto, sockopt};

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// Opens a connection and closes it again, without sending a request.
    pub(crate) fn probe(&self, timeout: Duration) -> std::io::Result<()> {
        match self {
            Self::Tcp(address) => TcpStream::connect_timeout(address, timeout).map(drop),
            Self::Unix(path) => UnixStream::connect(path).map(drop),
        }
    }

    /// Starts to connect, without waiting.
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

/// One or more addresses, and the index of the next one.
#[derive(Clone, Debug)]
pub struct Addresses {
    all: Vec<Address>,
    next: usize,
}

impl Addresses {
    /// `None` if there is no address.
    #[must_use]
    pub fn new(all: Vec<Address>) -> Option<Self> {
        (!all.is_empty()).then_some(Self { all, next: 0 })
    }

    /// The addresses in the order in which they are used.
    #[must_use]
    pub fn all(&self) -> &[Address] {
        &self.all
    }

    /// The same addresses with another starting point, so that threads do not all start with the first one.
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
