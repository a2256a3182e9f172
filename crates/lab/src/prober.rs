//! Sends one request repeatedly while the stack is changed, and records every answer.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Reply, Request, header},
    experiment::{Expect, ProbePlan},
    journal::{Entry, ProbeAnswer, Writer},
};

/// A request that takes longer than any bound counts as a hang.
pub(crate) const HANG: Duration = Duration::from_secs(3);
/// Answers are written to the journal in batches of this time.
const BATCH: Duration = Duration::from_secs(1);
/// Ids from here on are not used by any record.
const UNKNOWN_IDS: u64 = 1 << 40;
/// Each id is requested once in the life of the process.
static NEXT_UNKNOWN: AtomicU64 = AtomicU64::new(UNKNOWN_IDS);

/// The observations of a probe, shared with the threads that wait for it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    answers: AtomicU64,
    /// When the last request with a good answer was sent, in ms from the start; negative: none yet.
    last_good_at: Mutex<Option<f64>>,
    /// Whether its start mark was reached, or it has none.
    pub(crate) begun: AtomicBool,
    pub(crate) over: AtomicBool,
}

impl Seen {
    pub(crate) fn count(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    /// Whether a request with a good answer was sent at this time, in ms from the start, or later.
    pub(crate) fn good_since(&self, at: f64) -> bool {
        self.last_good_at.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|good| good >= at)
    }

    fn note(&self, answer: &ProbeAnswer, good: &Expect) {
        if answer.fits(good) {
            *self.last_good_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(answer.at);
        }
        self.answers.fetch_add(1, Ordering::Relaxed);
    }
}

/// One active probe.
pub(crate) struct Prober<'a> {
    pub(crate) plan: &'a ProbePlan,
    /// The address, looked up for each request, because a replica may restart at another one.
    pub(crate) base: &'a (dyn Fn() -> Option<String> + Sync),
    pub(crate) journal: &'a Writer,
    pub(crate) start: Instant,
    pub(crate) seen: Arc<Seen>,
}

impl Prober<'_> {
    /// Sends requests until it is stopped.
    pub(crate) fn run(&self) {
        let mut batch = Vec::new();
        let mut flushed = Instant::now();
        while !self.seen.over.load(Ordering::Relaxed) {
            let round = Instant::now();
            let base = (self.base)();
            let answers = self.round(base.as_deref());
            for answer in answers {
                self.seen.note(&answer, &self.plan.good);
                batch.push(answer);
            }
            if flushed.elapsed() >= BATCH {
                self.flush(&mut batch);
                flushed = Instant::now();
            }
            thread::sleep(self.plan.every.saturating_sub(round.elapsed()));
        }
        self.flush(&mut batch);
    }

    fn round(&self, base: Option<&str>) -> Vec<ProbeAnswer> {
        match self.plan.at_once {
            0 | 1 => vec![self.ask(base)],
            many => thread::scope(|scope| {
                let asking: Vec<_> = (0..many).map(|_| scope.spawn(|| self.ask(base))).collect();
                asking.into_iter().filter_map(|asked| asked.join().ok()).collect()
            }),
        }
    }

    fn ask(&self, base: Option<&str>) -> ProbeAnswer {
        let at = milliseconds(self.start.elapsed());
        let mut answer = ask(base, &self.plan.method, &self.plan.path, self.plan.body.as_deref());
        answer.at = at;
        answer
    }

    fn flush(&self, batch: &mut Vec<ProbeAnswer>) {
        if !batch.is_empty() {
            let answers = std::mem::take(batch);
            // The run itself fails on the same journal, with the reason.
            let _ = self.journal.append(&Entry::Probe { probe: self.plan.name.clone(), answers });
        }
    }
}

/// Sends one request. `{new}` in the path is replaced by an id that no record has and that was never requested.
pub(crate) fn ask(base: Option<&str>, method: &str, path: &str, body: Option<&str>) -> ProbeAnswer {
    let path = if path.contains("{new}") {
        path.replace("{new}", &NEXT_UNKNOWN.fetch_add(1, Ordering::Relaxed).to_string())
    } else {
        path.to_owned()
    };
    let begin = Instant::now();
    let Some(address) = base.and_then(address) else {
        return ProbeAnswer { error: "there is no such server".to_owned(), ..ProbeAnswer::default() };
    };
    let request = Request::new(method, path.clone());
    let request = body.map_or(request.clone(), |body| request.json(body.to_owned()));
    let reply = request.send_within(address, HANG);
    let took = milliseconds(begin.elapsed());
    match reply {
        Reply::NotSent(error) | Reply::Lost(error) => ProbeAnswer { took, error, ..ProbeAnswer::default() },
        Reply::Answer { status, head, body } => ProbeAnswer { took, ..read(status, &head, &body, &path) },
    }
}

/// Microseconds are enough; more digits would only make the journal longer.
fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1e3
}

fn address(base: &str) -> Option<SocketAddr> {
    base.strip_prefix("http://")?.trim_end_matches('/').to_socket_addrs().ok()?.next()
}

fn read(status: u16, head: &str, body: &str, path: &str) -> ProbeAnswer {
    let cache = header(head, "cache-status").unwrap_or_default();
    let is_stale = cache.contains("detail=stale");
    // A stale answer without an `Age` is not the promised one.
    let cache = if is_stale && header(head, "age").is_none() { String::new() } else { without_ttl(cache) };
    let record = (status == 200).then(|| serde_json::from_str::<Record>(body).ok()).flatten();
    let asked: Option<i64> = path.strip_prefix("/data/").and_then(|id| id.parse().ok());
    ProbeAnswer {
        status,
        cache,
        code: code(status, head, body),
        redis: header(head, "server-timing").and_then(redis_time),
        wrong: asked.is_some() && status == 200 && record.as_ref().map(|record| record.id) != asked,
        version: record.map(|record| record.version),
        ..ProbeAnswer::default()
    }
}

#[derive(serde::Deserialize)]
struct Record {
    id: i64,
    version: i64,
}

/// `redis; hit; ttl=27` changes with each second.
fn without_ttl(cache: &str) -> String {
    let parts: Vec<&str> = cache.split("; ").map(|part| if part.starts_with("ttl=") { "ttl" } else { part }).collect();
    parts.join("; ")
}

/// The code of a complete problem document with everything that its status requires.
fn code(status: u16, head: &str, body: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Problem {
        code: String,
        dependency: Option<String>,
    }
    let is_problem = header(head, "content-type") == Some("application/problem+json");
    let says_when = status != 503 || header(head, "retry-after").is_some();
    let problem: Option<Problem> = serde_json::from_str(body).ok();
    problem
        .filter(|problem| {
            let names_it = !problem.code.starts_with("database_") || problem.dependency.as_deref() == Some("postgres");
            is_problem && says_when && names_it
        })
        .map_or_else(String::new, |problem| problem.code)
}

/// `redis;dur=0.4, db;dur=3.1`
fn redis_time(timing: &str) -> Option<f64> {
    timing.split("redis;dur=").nth(1)?.split(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_held_against_what_was_asked_for() {
        let head = "HTTP/1.1 200 OK\r\nCache-Status: redis; hit; ttl=27\r\nServer-Timing: redis;dur=0.4, db;dur=3.1";
        let body = r#"{"id":7,"name":"a","value":"b","version":3,"updated_at":"2026-01-01T00:00:00Z"}"#;
        let answer = read(200, head, body, "/data/7");
        assert_eq!((answer.cache.as_str(), answer.redis, answer.version), ("redis; hit; ttl", Some(0.4), Some(3)));
        assert!(!answer.wrong);
        assert!(read(200, head, body, "/data/8").wrong);
        assert!(read(200, head, "{}", "/data/7").wrong);
    }

    #[test]
    fn a_problem_has_a_code_when_it_has_all_that_is_promised() {
        let head = "HTTP/1.1 503 x\r\nContent-Type: application/problem+json\r\nRetry-After: 2";
        let body = r#"{"code":"database_timeout","dependency":"postgres"}"#;
        assert_eq!(read(503, head, body, "/data/7").code, "database_timeout");
        assert_eq!(read(503, head, r#"{"code":"database_timeout"}"#, "/data/7").code, "");
        assert_eq!(read(503, "HTTP/1.1 503 x\r\nContent-Type: application/problem+json", body, "/data/7").code, "");
        assert_eq!(read(503, "HTTP/1.1 503 x", body, "/data/7").code, "");
    }

    #[test]
    fn an_old_answer_says_how_old_it_is() {
        let head = "HTTP/1.1 200 OK\r\nCache-Status: redis; hit; detail=stale";
        assert_eq!(read(200, head, "", "/health").cache, "");
        assert_eq!(read(200, &format!("{head}\r\nAge: 31"), "", "/health").cache, "redis; hit; detail=stale");
    }
}
