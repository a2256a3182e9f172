//! One HTTP request on a new connection. In addition to the answer it returns what a history needs to know: whether a
//! request without an answer can have had an effect.

use std::{
    fmt::Write as _,
    io,
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

/// The time-out for an answer: twice nginx's read time-out.
const PATIENCE: Duration = Duration::from_secs(2);
/// A page of 200 records of 16 KiB, with a margin.
const LARGEST_ANSWER: usize = 8 << 20;

/// The request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    path: String,
    headers: String,
    body: String,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// A complete answer.
    Answer {
        /// Its status.
        status: u16,
        /// The lines before the body.
        head: String,
        /// The body.
        body: String,
    },
    /// There was no connection: nothing was done.
    NotSent(String),
    /// The connection broke, or the answer did not arrive in time: it is unknown what was done.
    Lost(String),
}

impl Request {
    pub(crate) fn new(method: &str, path: String) -> Self {
        Self { method: method.to_owned(), path, headers: String::new(), body: String::new() }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        // Writing to a String cannot fail.
        let _infallible = write!(self.headers, "{name}: {value}\r\n");
        self
    }

    /// With a record with this value.
    pub(crate) fn record(self, value: &str) -> Self {
        self.json(serde_json::json!({ "name": "history", "value": value }).to_string())
    }

    /// With this document.
    pub(crate) fn json(mut self, body: String) -> Self {
        self.body = body;
        let length = self.body.len().to_string();
        self.header("Content-Type", "application/json").header("Content-Length", &length)
    }

    pub(crate) fn is_read(&self) -> bool {
        self.method == "GET"
    }

    pub(crate) fn send(&self, address: SocketAddr) -> Reply {
        self.send_within(address, PATIENCE)
    }

    /// With another time-out.
    pub(crate) fn send_within(&self, address: SocketAddr, patience: Duration) -> Reply {
        let end = Instant::now() + patience;
        let stream = match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => stream,
            Err(error) => return Reply::NotSent(error.to_string()),
        };
        self.exchange(stream, address, end).unwrap_or_else(|error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Reply::Lost("no answer in time".to_owned()),
            _ => Reply::Lost(error.to_string()),
        })
    }

    fn exchange(&self, stream: TcpStream, address: SocketAddr, end: Instant) -> io::Result<Reply> {
        let Self { method, path, headers, body } = self;
        let text = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n{body}");
        let bytes = stack::exchange(stream, text.as_bytes(), end, LARGEST_ANSWER)?;
        parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not complete"))
    }
}

/// Parses an answer; an answer that is shorter than its declared length is `None`.
fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status: u16 = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let length = header(head, "content-length").map_or(Some(body.len()), |length| length.parse().ok())?;
    let is_whole = body.len() == length || status == 204;
    is_whole.then(|| Reply::Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// The first header of this name, case-insensitive.
pub(crate) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_is_none() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabcd";
        assert!(matches!(parse(whole.as_bytes()), Some(Reply::Answer { status: 200, .. })));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..length]), None, "{length} bytes");
        }
        assert!(parse(b"HTTP/1.1 204 No Content\r\n\r\n").is_some());
    }

    #[test]
    fn what_was_never_sent_is_told_from_what_was_lost() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let closing = std::thread::spawn(move || drop(listener.accept()));
        let request = Request::new("PUT", "/data/1".to_owned()).record("x");
        assert!(matches!(request.send(address), Reply::Lost(_)));
        closing.join().unwrap();
        assert!(matches!(request.send(address), Reply::NotSent(_)));
    }
}
