//! Where the requests go: the URL taken apart, the name resolved once, before the clock starts.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::error::LoadError;

/// One server, `http://host:port`, without a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
    authority: String,
}

impl Target {
    /// Splits a URL into the server and the path on it (`/` when there is none).
    ///
    /// # Errors
    /// Anything but plain `http://` with a host, a valid port and a path of visible ASCII.
    pub fn parse(url: &str) -> Result<(Self, String), LoadError> {
        let fail = |reason| LoadError::Url { url: url.to_owned(), reason };
        let Some(rest) = url.strip_prefix("http://") else {
            return Err(fail(match url.starts_with("https://") {
                true => "TLS is not spoken here; aim at the plain http:// port behind it",
                false => "it must begin with http://, for example http://127.0.0.1:8080/data/1",
            }));
        };
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        if path.contains('#') {
            return Err(fail("a fragment (#…) is never sent to a server"));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(fail("spaces and other special characters in the path must be %-encoded"));
        }
        if authority.contains('@') {
            return Err(fail("user and password do not belong in it; use --header 'Authorization: …'"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| fail("the port must be a number from 1 to 65535"))?)
            }
            _ => (authority, 80),
        };
        if port == 0 {
            return Err(fail("the port must be a number from 1 to 65535"));
        }
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
            return Err(fail("the host name is missing or holds characters no host name has"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok((Self { host: host.to_owned(), port, authority: authority.to_owned() }, path))
    }

    /// What the `Host` header says.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The addresses behind the name, in the resolver's order.
    ///
    /// # Errors
    /// The name does not resolve.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let fail = |source| LoadError::Resolve { host: self.host.clone(), source };
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs().map_err(fail)?.collect();
        if addresses.is_empty() {
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
        }
        Ok(addresses)
    }

    /// The first address that accepts a connection: `localhost` is often `::1` first, where nothing may listen. The
    /// connection is closed again at once, no request is sent.
    ///
    /// # Errors
    /// The name does not resolve, or none of its addresses accepts within `timeout`.
    pub fn reach(&self, timeout: Duration) -> Result<SocketAddr, LoadError> {
        let mut last = None;
        for address in self.resolve()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(_) => return Ok(address),
                Err(source) => {
                    last = Some(LoadError::Unreachable {
                        authority: self.authority.clone(),
                        address: address.to_string(),
                        source,
                    });
                }
            }
        }
        Err(last
            .unwrap_or_else(|| LoadError::Resolve { host: self.host.clone(), source: io::ErrorKind::NotFound.into() }))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_urls_apart() {
        for (url, host, port, path) in [
            ("http://127.0.0.1:8080/data/1", "127.0.0.1", 8080, "/data/1"),
            ("http://example.org", "example.org", 80, "/"),
            ("http://example.org?x=1", "example.org", 80, "/?x=1"),
            ("http://[::1]:81/a?b=c", "::1", 81, "/a?b=c"),
            ("http://[::1]/", "::1", 80, "/"),
        ] {
            let (target, got) = Target::parse(url).unwrap();
            assert_eq!((target.host.as_str(), target.port, got.as_str()), (host, port, path), "{url}");
        }
    }

    #[test]
    fn refuses_what_it_cannot_speak_to() {
        for url in [
            "",
            "localhost:8080",
            "https://localhost/",
            "http://",
            "http://:80/",
            "http://h:0/",
            "http://h:65536/",
            "http://h:x/",
            "http://user:pw@h/",
            "http://h/a b",
            "http://h/ü",
            "http://h/#top",
            "http://h\r\nX: y/",
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn a_closed_port_is_told_from_an_unknown_name() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (closed, _) = Target::parse(&format!("http://127.0.0.1:{port}/")).unwrap();
        assert!(matches!(closed.reach(Duration::from_secs(1)), Err(LoadError::Unreachable { .. })));
        let (unknown, _) = Target::parse("http://no-such-host.invalid/").unwrap();
        assert!(matches!(unknown.reach(Duration::from_secs(1)), Err(LoadError::Resolve { .. })));
    }
}
