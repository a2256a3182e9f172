//! The target of the requests: the URL is parsed and the name resolved once, before the run starts.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use crate::address::{Address, Addresses};
use crate::error::LoadError;

/// One server: `http://host:port`, `https://host:port` or `unix:/path/of/the/socket`, without a path for requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    place: Place,
    authority: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Host { host: String, port: u16, is_tls: bool },
    Socket(PathBuf),
}

/// The kernel's limit for the path of a socket, without the terminating zero.
const MAX_SOCKET_PATH: usize = 107;

impl Target {
    /// Splits a URL into the server and the path (`/` if there is none). A Unix socket is written as in nginx,
    /// `unix:/run/app.sock:/path`.
    ///
    /// # Errors
    /// The URL is not `http://` (with the feature `tls` also `https://`) with a host, a valid port and a path of
    /// visible ASCII, or the path of the socket is too long.
    pub fn parse(url: &str) -> Result<(Self, String), LoadError> {
        let fail = |reason| LoadError::Url { url: crate::secrets::mask_url(url), reason };
        if let Some(socket) = url.strip_prefix("unix:") {
            return Self::parse_socket(socket, &fail);
        }
        let plain = url.strip_prefix("http://");
        let is_tls = plain.is_none();
        let Some(rest) = plain.or_else(|| url.strip_prefix("https://")) else {
            return Err(fail("it must begin with http:// or unix:/, for example http://127.0.0.1:8080/data/1"));
        };
        if is_tls && !cfg!(feature = "tls") {
            return Err(fail(
                "this build speaks no TLS (cargo build -p loadgen --features tls); aim at a plain http:// port",
            ));
        }
        let split = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        check_path(path).map_err(fail)?;
        if authority.contains('@') {
            return Err(fail("user and password do not belong in it; use --header 'Authorization: …'"));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                (host, port.parse().map_err(|_| fail("the port must be a number from 1 to 65535"))?)
            }
            _ => (authority, if is_tls { 443 } else { 80 }),
        };
        if port == 0 {
            return Err(fail("the port must be a number from 1 to 65535"));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(fail("an IPv6 address stands in brackets, for example http://[::1]:8080/"));
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
            return Err(fail("the host name is missing or holds characters no host name has"));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok((Self { place: Place::Host { host: host.to_owned(), port, is_tls }, authority: authority.to_owned() }, path))
    }

    fn parse_socket(rest: &str, fail: &dyn Fn(&'static str) -> LoadError) -> Result<(Self, String), LoadError> {
        let (socket, path) = rest.find(":/").map_or((rest, "/"), |at| (&rest[..at], &rest[at + 1..]));
        check_path(path).map_err(fail)?;
        if !socket.starts_with('/') {
            return Err(fail("the path of a socket must begin with /, for example unix:/run/app.sock:/data/1"));
        }
        if socket.len() > MAX_SOCKET_PATH {
            return Err(fail("the path of a socket may be 107 bytes long, a limit of the kernel"));
        }
        Ok((Self { place: Place::Socket(socket.into()), authority: "localhost".to_owned() }, path.to_owned()))
    }

    /// The value of the `Host` header.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The name that the certificate must be valid for, if TLS is used.
    pub(crate) fn tls_host(&self) -> Option<&str> {
        match &self.place {
            Place::Host { host, is_tls: true, .. } => Some(host),
            Place::Host { is_tls: false, .. } | Place::Socket(_) => None,
        }
    }

    /// The addresses of the name, in the resolver's order; none for a socket.
    ///
    /// # Errors
    /// The name cannot be resolved.
    pub fn resolve(&self) -> Result<Vec<SocketAddr>, LoadError> {
        let Place::Host { host, port, .. } = &self.place else { return Ok(Vec::new()) };
        let fail = |source| LoadError::Resolve { host: host.clone(), source };
        let mut addresses = Vec::new();
        for address in (host.as_str(), *port).to_socket_addrs().map_err(fail)? {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if host == "localhost" {
            // Both loopback addresses, independent of the hosts file (RFC 6761 §6.3).
            for address in [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)] {
                let address = SocketAddr::new(address, *port);
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        if addresses.is_empty() {
            return Err(fail(io::Error::new(io::ErrorKind::NotFound, "it has no address")));
        }
        Ok(addresses)
    }

    /// All addresses that accept a connection: `localhost` is often `::1` first, where no server may listen. The
    /// connections are closed at once, without a request.
    ///
    /// # Errors
    /// The name cannot be resolved, or none of its addresses accepts within `timeout`.
    pub fn reach(&self, timeout: Duration) -> Result<Addresses, LoadError> {
        let candidates = match &self.place {
            Place::Socket(path) => vec![Address::Unix(path.clone())],
            Place::Host { .. } => self.resolve()?.into_iter().map(Address::Tcp).collect(),
        };
        let mut failure = (self.to_string(), io::ErrorKind::NotFound.into());
        let mut reached = Vec::new();
        for address in candidates {
            match address.probe(timeout) {
                Ok(()) => reached.push(address),
                Err(source) => failure = (address.to_string(), source),
            }
        }
        let (address, source) = failure;
        let unreachable = || LoadError::Unreachable { authority: self.authority.clone(), address, source };
        Addresses::new(reached).ok_or_else(unreachable)
    }
}

fn check_path(path: &str) -> Result<(), &'static str> {
    if path.contains('#') {
        return Err("a fragment (#…) is never sent to a server");
    }
    if !path.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("spaces and other special characters in the path must be %-encoded");
    }
    Ok(())
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Host { is_tls: false, .. } => write!(f, "http://{}", self.authority),
            Place::Host { is_tls: true, .. } => write!(f, "https://{}", self.authority),
            Place::Socket(path) => write!(f, "unix:{}", path.display()),
        }
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
            assert_eq!(target.place, Place::Host { host: host.to_owned(), port, is_tls: false }, "{url}");
            assert_eq!(got, path, "{url}");
        }
        for (url, socket, path) in [
            ("unix:/run/app.sock:/data/1?x=1", "/run/app.sock", "/data/1?x=1"),
            ("unix:/run/my app.sock", "/run/my app.sock", "/"),
        ] {
            let (target, got) = Target::parse(url).unwrap();
            assert_eq!((&target.place, got.as_str()), (&Place::Socket(socket.into()), path), "{url}");
            assert_eq!((target.authority(), target.to_string()), ("localhost", format!("unix:{socket}")));
        }
    }

    #[test]
    fn refuses_what_it_cannot_speak_to() {
        for url in [
            "",
            "localhost:8080",
            "ftp://localhost/",
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
            "http://::1/",
            "http://::1:80/",
            "unix:app.sock:/",
            "unix:/run/app.sock:/a b",
            &format!("unix:/{}", "x".repeat(107)),
        ] {
            assert!(Target::parse(url).is_err(), "{url:?}");
        }
    }

    #[test]
    fn localhost_is_found_on_either_loopback() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has only one address.
            let Ok(listener) = std::net::TcpListener::bind(address) else { continue };
            let address = listener.local_addr().unwrap();
            let (target, _) = Target::parse(&format!("http://localhost:{}/", address.port())).unwrap();
            let reached = target.reach(Duration::from_secs(1)).unwrap();
            assert_eq!(reached.all(), [Address::Tcp(address)]);
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
