//! Whether a server answers, and if not, how it fails: the smallest exchange that only a working server completes.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Target, http};

/// A working server on the same machine answers in a millisecond; this is for a busy machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// What an answer has to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The server itself works.
    Itself,
    /// It can do its task: a replica reaches Postgres, or nginx reaches a replica.
    Whole,
}

/// The state of a server as a client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Answers,
    /// It answers with an error.
    Troubled,
    /// Connections are refused or reset.
    Refused,
    /// Connections are accepted, but nothing is answered.
    Silent,
    /// No connection can be opened: packets are dropped.
    Dropped,
    /// It has no address.
    Gone,
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Answers => "it answers",
            Self::Troubled => "it answers with an error",
            Self::Refused => "connections are refused",
            Self::Silent => "connections are accepted, but nothing is answered",
            Self::Dropped => "packets are dropped",
            Self::Gone => "it no longer has an address",
        })
    }
}

/// Probes a server.
pub(crate) fn reach(target: Target, address: SocketAddr) -> Reach {
    match target {
        Target::Postgres => raw(address, &hello(target), |answer| answer.first() == Some(&b'R')),
        // Without the password: the request for one proves that it works.
        Target::Redis => {
            raw(address, &hello(target), |answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
        }
        Target::Nginx | Target::Api(_) => {
            let good = |answer: &[u8]| match target {
                // Any answer about the replicas proves that nginx itself works.
                Target::Nginx => answer.starts_with(b"HTTP/1.1 "),
                _ => answer.starts_with(b"HTTP/1.1 200"),
            };
            raw(address, &hello(target), good)
        }
    }
}

/// Whether a connection is accepted.
pub(crate) fn accepts(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, PATIENCE).is_ok()
}

pub(crate) fn answers(target: Target, port: u16, depth: Depth) -> bool {
    let path = match (target, depth) {
        (Target::Nginx, Depth::Whole) => "/readyz",
        (Target::Api(_), Depth::Whole) => "/health",
        (Target::Postgres | Target::Redis, _) | (_, Depth::Itself) => {
            return reach(target, (Ipv4Addr::LOCALHOST, port).into()) == Reach::Answers;
        }
    };
    http::get(&format!("http://127.0.0.1:{port}{path}"), PATIENCE).is_ok_and(|answer| answer.status == 200)
}

/// The request that is sent to a server.
pub(crate) fn hello(target: Target) -> Vec<u8> {
    match target {
        Target::Postgres => postgres_hello(),
        Target::Redis => b"PING\r\n".to_vec(),
        // nginx answers this itself, whatever the state of the replicas; the refusal is the expected answer.
        Target::Nginx => b"GET /metrics HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".to_vec(),
        Target::Api(_) => b"GET /readyz HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n".to_vec(),
    }
}

/// A server that accepts connections asks for the password; one that starts, stops or recovers sends an error.
fn postgres_hello() -> Vec<u8> {
    const VERSION_3: i32 = 3 << 16;
    const PARAMETERS: &[u8] = b"user\0app\0database\0app\0\0";
    let mut hello = Vec::new();
    hello.extend_from_slice(&(8 + PARAMETERS.len() as i32).to_be_bytes());
    hello.extend_from_slice(&VERSION_3.to_be_bytes());
    hello.extend_from_slice(PARAMETERS);
    hello
}

fn raw(address: SocketAddr, request: &[u8], is_good: impl Fn(&[u8]) -> bool) -> Reach {
    let stream = match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(stream) => stream,
        Err(error) if is_time_out(&error) => return Reach::Dropped,
        Err(_) => return Reach::Refused,
    };
    match exchange(stream, request) {
        Ok(answer) if is_good(&answer) => Reach::Answers,
        Ok(answer) if answer.is_empty() => Reach::Refused,
        Ok(_) => Reach::Troubled,
        Err(error) if is_time_out(&error) => Reach::Silent,
        Err(_) => Reach::Refused,
    }
}

fn exchange(mut stream: TcpStream, request: &[u8]) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request)?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer)?;
    answer.truncate(length);
    Ok(answer)
}

fn is_time_out(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn silence_refusal_and_an_answer_are_distinguished() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(reach(Target::Redis, address), Reach::Silent);
        let server = std::thread::spawn(move || {
            // The first connection is the one above.
            let _silent = listener.accept().unwrap();
            listener.accept().unwrap().0.write_all(b"-NOAUTH Authentication required.\r\n").unwrap();
            listener.accept().unwrap().0.write_all(b"-LOADING\r\n").unwrap();
        });
        assert_eq!(reach(Target::Redis, address), Reach::Answers);
        assert_eq!(reach(Target::Redis, address), Reach::Troubled);
        server.join().unwrap();
        assert_eq!(reach(Target::Redis, address), Reach::Refused);
    }
}
