//! One log line per request: a message and fields, no bodies, no secrets.
//!
//! The line has the form of all other lines, but it does not go through `tracing`: its formatting and a system call per
//! line would cost a cached read a fifth of its requests per second. Requests append to a buffer, and a dedicated
//! thread writes the buffer. The buffer is bounded: when standard output does not keep up, lines are dropped and
//! counted, and requests are not delayed.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::http::{Method, Uri};
use prometheus::IntCounter;
use serde::Serialize;
use time::{OffsetDateTime, macros::format_description};

use super::route::Route;
use crate::{http::answer::Observed, metrics::requests::Outcome};

/// Longest path in a line. A path comes from the client; a longer one is cut.
const MAX_PATH: usize = 256;

/// About four thousand lines: a tenth of a second of one core's requests.
const BUFFER: usize = 1024 * 1024;

/// How long lines are collected under load: the longest delay of a line in the log.
const GATHER: Duration = Duration::from_millis(5);

/// The fields that are known when a request begins.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) route: Route,
    /// `None`: the head could not be parsed.
    head: Option<(Method, Uri)>,
}

/// The handle to the log. Clones share one buffer. Dropping the last clone writes the remaining lines.
#[derive(Debug, Clone)]
pub struct AccessLog(Arc<Writer>);

#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    filled: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Buffer {
    lines: Vec<u8>,
    closed: bool,
}

/// The fields in the order in which they are written.
#[derive(Serialize)]
struct Fields<'a> {
    timestamp: &'a str,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    trace_id: &'a str,
    instance: &'a str,
    method: &'a str,
    route: &'static str,
    path: &'a str,
    status: u16,
    code: &'static str,
    cache: &'static str,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    redis_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    db_ms: Option<f64>,
    target: &'static str,
}

impl Line {
    pub(super) fn new(method: Method, route: Route, uri: &Uri) -> Self {
        Self { route, head: Some((method, uri.clone())) }
    }

    /// For a request whose head could not be parsed: without method and path.
    pub(super) fn without_head() -> Self {
        Self { route: Route::Unmatched, head: None }
    }

    /// The method; empty when the head could not be parsed.
    pub(super) fn method(&self) -> &str {
        self.head.as_ref().map_or("", |(method, _)| method.as_str())
    }

    pub(super) fn write(
        &self,
        log: &AccessLog,
        instance: &str,
        (request_id, trace_id): (&str, &str),
        outcome: Outcome,
        duration: Duration,
        seen: Option<Observed>,
    ) {
        let path = self.head.as_ref().map_or("", |(_, uri)| uri.path());
        let seen = seen.unwrap_or_default();
        // Microseconds are precise enough.
        let milliseconds = |duration: Duration| duration.as_micros() as f64 / 1e3;
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
        let mut timestamp = [0; 32];
        let written = OffsetDateTime::now_utc().format_into(&mut &mut timestamp[..], format).unwrap_or(0);
        log.append(&Fields {
            timestamp: str::from_utf8(&timestamp[..written]).unwrap_or_default(),
            level: "INFO",
            message: "request",
            request_id,
            trace_id,
            instance,
            method: self.method(),
            route: self.route.as_str(),
            path: path.get(..MAX_PATH).unwrap_or(path),
            status: outcome.status(),
            code: outcome.code(),
            cache: seen.cache.map_or("", |cache| cache.as_str()),
            duration_ms: milliseconds(duration),
            redis_ms: seen.redis.map(milliseconds),
            db_ms: seen.database.map(milliseconds),
            target: "access",
        });
    }
}

impl AccessLog {
    /// Starts the thread that writes to standard output.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared { buffer: Mutex::default(), filled: Condvar::new(), dropped });
        let writing = Arc::clone(&shared);
        let thread = thread::Builder::new().name("access-log".to_owned()).spawn(move || writing.write_all())?;
        Ok(Self(Arc::new(Writer { shared, thread: Some(thread) })))
    }

    fn append(&self, fields: &Fields<'_>) {
        let mut buffer = self.0.shared.lock();
        if buffer.lines.len() >= BUFFER {
            self.0.shared.dropped.inc();
            return;
        }
        let was_empty = buffer.lines.is_empty();
        // Writing strings and numbers to memory cannot fail.
        if serde_json::to_writer(&mut buffer.lines, fields).is_ok() {
            buffer.lines.push(b'\n');
        }
        drop(buffer);
        if was_empty {
            self.0.shared.filled.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all(&self) {
        let mut lines = Vec::new();
        loop {
            let waiting = self.filled.wait_while(self.lock(), |buffer| buffer.lines.is_empty() && !buffer.closed);
            let mut buffer = waiting.unwrap_or_else(PoisonError::into_inner);
            if buffer.lines.is_empty() {
                return;
            }
            let closed = buffer.closed;
            std::mem::swap(&mut buffer.lines, &mut lines);
            drop(buffer);
            let mut stdout = io::stdout().lock();
            if stdout.write_all(&lines).and_then(|()| stdout.flush()).is_err() {
                // Standard output is closed: the service continues without its log.
                self.dropped.inc();
            }
            drop(stdout);
            lines.clear();
            if !closed {
                thread::sleep(GATHER);
            }
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            // Fails only if the thread panicked. Nothing can be written then.
            drop(thread.join());
        }
    }
}
