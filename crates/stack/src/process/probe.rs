//! Whether a server answers: the smallest exchange that only a working one completes.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::Duration,
};

use crate::{Target, http};

/// A working server on the same machine answers in a millisecond; this is for a busy machine.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much an answer has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// The server itself works.
    Itself,
    /// It can do its task: a replica reaches Postgres, nginx reaches a replica.
    Whole,
}

pub(super) fn answers(target: Target, port: u16, depth: Depth) -> bool {
    match target {
        Target::Postgres => postgres(port),
        Target::Redis => redis(port),
        Target::Nginx => match depth {
            Depth::Itself => http_status(port, "/readyz").is_some(),
            Depth::Whole => http_status(port, "/readyz") == Some(200),
        },
        Target::Api(_) => match depth {
            Depth::Itself => http_status(port, "/readyz") == Some(200),
            Depth::Whole => http_status(port, "/health") == Some(200),
        },
    }
}

fn http_status(port: u16, path: &str) -> Option<u16> {
    http::get(&format!("http://127.0.0.1:{port}{path}"), PATIENCE).ok().map(|answer| answer.status)
}

/// A server that accepts connections asks for the password; one that starts, stops or recovers sends an error.
fn postgres(port: u16) -> bool {
    const VERSION_3: i32 = 3 << 16;
    const PARAMETERS: &[u8] = b"user\0app\0database\0app\0\0";
    let mut hello = Vec::new();
    hello.extend_from_slice(&(8 + PARAMETERS.len() as i32).to_be_bytes());
    hello.extend_from_slice(&VERSION_3.to_be_bytes());
    hello.extend_from_slice(PARAMETERS);
    exchange(port, &hello).is_some_and(|answer| answer.first() == Some(&b'R'))
}

/// Without the password: that it asks for one is the sign of life.
fn redis(port: u16) -> bool {
    exchange(port, b"PING\r\n").is_some_and(|answer| answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
}

fn exchange(port: u16, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&(Ipv4Addr::LOCALHOST, port).into(), PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(request).ok()?;
    let mut answer = vec![0; 64];
    let length = stream.read(&mut answer).ok()?;
    answer.truncate(length);
    Some(answer)
}
