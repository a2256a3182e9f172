//! HTTP on a connection of its own: no reuse, one deadline for the whole exchange.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

/// More than any probe's answer; the rest of a longer answer is not read.
const LARGEST_ANSWER: usize = 1 << 20;

/// The answer to a request.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    head: String,
    pub body: String,
}

impl Answer {
    /// The first header with this name; the comparison ignores case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Requests `http://host:port/path` and reads the whole answer.
pub fn get(url: &str, within: Duration) -> io::Result<Answer> {
    let bad_url = || io::Error::new(io::ErrorKind::InvalidInput, format!("not an http URL: {url}"));
    let rest = url.strip_prefix("http://").ok_or_else(bad_url)?;
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let address = host.to_socket_addrs()?.next().ok_or_else(bad_url)?;

    let end = Instant::now() + within;
    let stream = TcpStream::connect_timeout(&address, within)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: lab\r\n\r\n");
    let bytes = exchange(stream, request.as_bytes(), end, LARGEST_ANSWER)?;
    parse(&bytes).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))
}

/// Sends a request that closes its connection, and reads until the server has closed it or `largest` bytes have come.
pub fn exchange(mut stream: TcpStream, request: &[u8], end: Instant, largest: usize) -> io::Result<Vec<u8>> {
    let left = || match end.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::Error::from(io::ErrorKind::TimedOut)),
        left => Ok(Some(left)),
    };
    stream.set_write_timeout(left()?)?;
    stream.write_all(request)?;
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 << 10];
    while bytes.len() < largest {
        stream.set_read_timeout(left()?)?;
        match stream.read(&mut chunk)? {
            0 => break,
            read => bytes.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(bytes)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, head: head.to_owned(), body: body.to_owned() };
    if answer.header("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        answer.body = unchunked(body);
    }
    Some(answer)
}

/// The content of a chunked body, as far as it was received.
fn unchunked(mut body: &str) -> String {
    let mut content = String::new();
    while let Some((size, rest)) = body.split_once("\r\n")
        && let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
        && size > 0
        && let Some(chunk) = rest.get(..size)
    {
        content += chunk;
        let rest = &rest[size..];
        body = rest.strip_prefix("\r\n").unwrap_or(rest);
    }
    content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_parsed() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nX-Instance: api-2\r\n\r\n{}").unwrap();
        assert_eq!((answer.status, answer.header("x-instance"), answer.body.as_str()), (503, Some("api-2"), "{}"));
    }

    #[test]
    fn a_chunked_body_is_its_content() {
        let answer = parse(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\nB;x=y\r\n\": [1, 2]}\n\r\n0\r\n\r\n",
        );
        assert_eq!(answer.unwrap().body, "{\"a\": [1, 2]}\n");
        let cut = parse(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n9\r\nef");
        assert_eq!(cut.unwrap().body, "abcd");
    }

    #[test]
    fn an_answer_that_is_not_http_is_refused() {
        for bytes in [&b""[..], b"-ERR\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 x y\r\n\r\n", b"HTTP/1.1 200 OK\r\n"] {
            assert!(parse(bytes).is_none(), "{bytes:?}");
        }
    }
}
