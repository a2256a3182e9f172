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
    time::{Duration, SystemTime},
};

use axum::http::{Method, Uri};
use prometheus::IntCounter;

mod json;
mod timestamp;

use self::{json::JsonLine, timestamp::Timestamps};
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
    method: Option<Method>,
    /// `None`: the head could not be parsed, or there is no log.
    uri: Option<Uri>,
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
    timestamps: Timestamps,
    closed: bool,
}

impl Line {
    /// `uri` is only used for the log.
    pub(super) fn new(method: Method, route: Route, uri: Option<Uri>) -> Self {
        Self { route, method: Some(method), uri }
    }

    /// For a request whose head could not be parsed: without method and path.
    pub(super) fn without_head() -> Self {
        Self { route: Route::Unmatched, method: None, uri: None }
    }

    /// The method; empty when the head could not be parsed.
    pub(super) fn method(&self) -> &str {
        self.method.as_ref().map_or("", Method::as_str)
    }

    pub(super) fn write(
        &self,
        log: &AccessLog,
        instance: &str,
        (request_id, trace_id): (&[u8], &[u8]),
        outcome: Outcome,
        duration: Duration,
        seen: Observed,
    ) {
        let path = self.uri.as_ref().map_or("", Uri::path);
        log.append(|line| {
            let line = line
                .word("level", b"INFO")
                .word("message", b"request")
                .word("request_id", request_id)
                .word("trace_id", trace_id)
                .word("instance", instance.as_bytes())
                .word("method", self.method().as_bytes())
                .word("route", self.route.as_str().as_bytes())
                .text("path", path.get(..MAX_PATH).unwrap_or(path))
                .number("status", outcome.status().into())
                .word("code", outcome.code().as_bytes())
                .word("cache", seen.cache.map_or("", |cache| cache.as_str()).as_bytes())
                .milliseconds("duration_ms", duration);
            let line = seen.redis.into_iter().fold(line, |line, redis| line.milliseconds("redis_ms", redis));
            let line = seen.database.into_iter().fold(line, |line, database| line.milliseconds("db_ms", database));
            line.word("target", b"access").end();
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

    /// Appends a line, which `write` writes after its first field, the time.
    fn append(&self, write: impl FnOnce(JsonLine<'_>)) {
        let mut buffer = self.0.shared.lock();
        let Buffer { lines, timestamps, .. } = &mut *buffer;
        if lines.len() >= BUFFER {
            self.0.shared.dropped.inc();
            return;
        }
        let was_empty = lines.is_empty();
        let timestamp = timestamps.text(SystemTime::now());
        write(JsonLine::new(lines).word("timestamp", &timestamp));
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
