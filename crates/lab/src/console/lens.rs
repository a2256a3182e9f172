//! The request lens: one request through nginx, and its way: which replicas nginx tried, what the cache said, where the time
//! went, and what a problem means.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use stack::{StackError, Status};

use super::{
    hub::Hub,
    traffic::{LENS, text_field},
};

const PATIENCE: Duration = Duration::from_secs(4);
/// A page of records, and room; a longer body is cut in what is shown anyway.
const LARGEST_ANSWER: usize = 1 << 20;
const LARGEST_SHOWN: usize = 2_000;
const LONGEST_PATH: usize = 300;
/// nginx writes its line when the answer is sent; the log is read every tenth of a second.
const LINE_PATIENCE: Duration = Duration::from_millis(800);

/// One attempt of nginx.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Try {
    pub(super) server: String,
    pub(super) status: String,
    /// In milliseconds, as nginx has it: whole ones.
    pub(super) duration: String,
}

#[derive(Debug, Clone)]
pub(super) struct LensResult {
    pub(super) request: String,
    pub(super) command: String,
    /// As a client measures it.
    pub(super) elapsed: Duration,
    pub(super) outcome: Result<LensAnswer, String>,
    pub(super) tries: Vec<Try>,
}

#[derive(Debug, Clone)]
pub(super) struct LensAnswer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
    /// Name and milliseconds, in the order of the header.
    pub(super) timings: Vec<(String, f64)>,
    /// The problem's code, where it is one.
    pub(super) problem: Option<Problem>,
}

#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) code: String,
    pub(super) title: String,
    /// The page of the code, as the service has it.
    pub(super) page: Option<String>,
}

impl LensAnswer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// Sends `method path` and waits for all that is told about it.
///
/// # Errors
/// The path is none; no stack runs. That the request itself fails is a result.
pub(super) fn look(hub: &Hub, path: &str, past_cache: bool) -> Result<(), StackError> {
    check(path)?;
    let status = hub.connect()?.status()?;
    let id = format!("{LENS}{:016x}", u64::from_ne_bytes(random()?));
    let mut headers = format!("X-Request-Id: {id}\r\n");
    let mut command = format!("curl -i '{}{path}'", status.base_url);
    if past_cache {
        headers.push_str("Cache-Control: no-cache\r\n");
        command.push_str(" -H 'Cache-Control: no-cache'");
    }
    let start = Instant::now();
    let outcome = exchange(&status.base_url, path, &headers);
    let elapsed = start.elapsed();
    let outcome = outcome
        .map_err(|error| error.to_string())
        .and_then(|bytes| parse(&bytes, &status.base_url).ok_or_else(|| "the answer is not HTTP".to_owned()));
    let tries = line_of(hub, &id).map(|line| tries(&line, &status)).unwrap_or_default();
    hub.set_lens(LensResult { request: format!("GET {path}"), command, elapsed, outcome, tries });
    Ok(())
}

fn check(path: &str) -> Result<(), StackError> {
    let is_sane =
        path.starts_with('/') && path.len() <= LONGEST_PATH && path.bytes().all(|byte| byte.is_ascii_graphic());
    // The command line that is shown goes into a shell.
    let is_plain = !path.contains(['\'', '"', '`', '$', '\\', ';', '|', '<', '>', '(', ')']);
    if is_sane && is_plain {
        return Ok(());
    }
    Err(StackError::Usage(format!("`{path}` is not a path that can be sent: one like /data/1")))
}

fn random() -> Result<[u8; 8], StackError> {
    super::security::random().map_err(|source| StackError::Io { what: "cannot read /dev/urandom".to_owned(), source })
}

fn exchange(base_url: &str, path: &str, headers: &str) -> io::Result<Vec<u8>> {
    let authority = base_url.strip_prefix("http://").unwrap_or(base_url);
    let address = authority.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    let end = Instant::now() + PATIENCE;
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nUser-Agent: lab\r\n{headers}\r\n");
    stack::exchange(stream, request.as_bytes(), end, LARGEST_ANSWER)
}

fn parse(bytes: &[u8], base_url: &str) -> Option<LensAnswer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.lines();
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let header = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let mut answer = LensAnswer { status, headers, body: String::new(), timings: Vec::new(), problem: None };
    let body = if answer.header("transfer-encoding").is_some() { unchunked(body) } else { body.to_owned() };
    answer.timings = answer.header("server-timing").map(timings).unwrap_or_default();
    answer.problem = problem(&body, base_url);
    answer.body = body.chars().take(LARGEST_SHOWN).collect();
    Some(answer)
}

/// The pieces of a chunked body, as far as they are whole.
fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let Some(size) = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0) else { break };
        let Some(piece) = after.get(..size) else { break };
        body.push_str(piece);
        rest = after[size..].trim_start_matches("\r\n");
    }
    body
}

/// `redis;dur=0.4, db;dur=3.1`
fn timings(header: &str) -> Vec<(String, f64)> {
    let one = |part: &str| {
        let (name, rest) = part.trim().split_once(';')?;
        let duration = rest.split(';').find_map(|parameter| parameter.trim().strip_prefix("dur="))?;
        Some((name.trim().to_owned(), duration.parse().ok()?))
    };
    header.split(',').filter_map(one).collect()
}

fn problem(body: &str, base_url: &str) -> Option<Problem> {
    let value: serde_json::Value = serde_json::from_str(body).ok()?;
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str).map(str::to_owned);
    let (code, title, page) = (text("code")?, text("title")?, text("type")?);
    let is_page = page.starts_with("/problems/");
    let page = is_page.then(|| stack::get(&format!("{base_url}{page}"), Duration::from_secs(1)).ok()).flatten();
    Some(Problem { code, title, page: page.filter(|answer| answer.status == 200).map(|answer| answer.body) })
}

/// nginx's line about the request with this id.
fn line_of(hub: &Hub, id: &str) -> Option<String> {
    let end = Instant::now() + LINE_PATIENCE;
    loop {
        let found = hub.with_lens_lines(|lines| lines.iter().find(|line| line.contains(id)).cloned());
        if found.is_some() || Instant::now() >= end {
            return found;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `"upstream":"127.0.0.1:1, 127.0.0.1:2","upstream_status":"504, 200"`
fn tries(line: &str, status: &Status) -> Vec<Try> {
    let list = |name: &str| -> Vec<String> {
        let text = text_field(line, name).unwrap_or_default();
        text.split(", ").filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let (servers, statuses, durations) = (list("upstream"), list("upstream_status"), list("upstream_duration_s"));
    let name = |address: &str| {
        let replica = status.replicas.iter().find(|replica| replica.url.strip_prefix("http://") == Some(address));
        replica.map_or_else(|| address.to_owned(), |replica| replica.name.to_string())
    };
    let ms = |text: Option<&String>| {
        let seconds = text.and_then(|text| text.parse::<f64>().ok());
        seconds.map_or_else(|| "–".to_owned(), |seconds| format!("{:.0} ms", seconds * 1e3))
    };
    servers
        .iter()
        .enumerate()
        .map(|(index, server)| Try {
            server: name(server),
            status: statuses.get(index).cloned().unwrap_or_default(),
            duration: ms(durations.get(index)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_apart_with_its_timings() {
        let text = "HTTP/1.1 200 OK\r\nServer-Timing: redis;dur=0.4, db;desc=x;dur=3.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                    4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n";
        let answer = parse(text.as_bytes(), "http://127.0.0.1:1").unwrap();
        assert_eq!(answer.timings, [("redis".to_owned(), 0.4), ("db".to_owned(), 3.1)]);
        assert_eq!((answer.status, answer.body.as_str()), (200, "abcdef"));
        assert_eq!(answer.header("SERVER-timing"), Some("redis;dur=0.4, db;desc=x;dur=3.1"));
    }

    #[test]
    fn only_plain_paths_are_sent() {
        for path in ["/data/1", "/data?limit=5&after=2", "/problems/overloaded"] {
            assert!(check(path).is_ok(), "{path}");
        }
        for path in ["", "data", "/a b", "/a\r\nX: y", "/'; rm -rf", "/ü", "http://elsewhere/"] {
            assert!(check(path).is_err(), "{path}");
        }
    }
}
