//! Writes to Redis and commits in Postgres all the time, from outside of the replicas: a time in which that takes long is
//! one in which the replicas may have waited in vain. This keeps a busy machine from looking like a broken promise.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use stack::{Endpoints, StackError};

use super::{
    Broken, Line,
    file::Log,
    recorder::{Clock, RECOVERY, REPAIR, micros},
};
use crate::admin::{Postgres, Redis};

/// Half of the 40 ms that a replica waits for Redis, by default, at one attempt.
const REDIS_IS_SLOW: Duration = Duration::from_millis(20);
/// Half of the 150 ms that a statement may take, by default.
const POSTGRES_IS_SLOW: Duration = Duration::from_millis(75);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// A reply of Redis that does not come for so long is not awaited: the connection is given up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Notes every silence of Redis until it is told to stop.
pub(super) fn watch_redis(url: &str, clock: Clock, log: &Log, stop: &AtomicBool) {
    let mut connection = None;
    let note = |from, to| log.add(silence("redis", from, to, true));
    watch(REDIS_IS_SLOW, clock, stop, note, || set(&mut connection, url));
}

/// Notes every silence of Postgres until it is told to stop.
pub(super) fn watch_postgres(endpoints: &Endpoints, clock: Clock, log: &Log, stop: &AtomicBool) {
    let mut connection = None;
    let note = |from, to| log.add(silence("postgres", from, to, false));
    watch(POSTGRES_IS_SLOW, clock, stop, note, || commit(&mut connection, endpoints).is_ok());
}

fn silence(server: &str, from: u64, to: u64, redis: bool) -> Line {
    let what = format!("{server} was silent, or the machine stalled");
    let repaired = to.saturating_add(micros(RECOVERY + REPAIR));
    Line::Broken(Broken { what, from, to, repaired, redis, ended: false, late_only: false })
}

/// Looks again and again, and notes each silence when it is over. It also counts when this thread does not run for long:
/// then others may not, either.
fn watch(slow: Duration, clock: Clock, stop: &AtomicBool, note: impl Fn(u64, u64), mut answers: impl FnMut() -> bool) {
    let mut before = clock.now();
    let mut silent_since = None;
    while !stop.load(Ordering::Relaxed) {
        let look = Instant::now();
        let answered = answers();
        thread::sleep(PAUSE);
        if !answered || look.elapsed() > slow + PAUSE {
            silent_since.get_or_insert(before);
        } else if let Some(since) = silent_since.take() {
            note(since, before);
        }
        before = clock.now();
    }
    if let Some(since) = silent_since {
        note(since, before);
    }
}

fn set(connection: &mut Option<Redis>, url: &str) -> bool {
    let redis = match connection {
        Some(redis) => redis,
        None => match Redis::open(url, PATIENCE) {
            Ok(redis) => connection.insert(redis),
            Err(_) => return false,
        },
    };
    // The replicas' own keys are left alone; it vanishes by itself.
    let written = redis.command(&["SET", "history:witness", "x", "PX", "1000"]);
    if written.is_err() {
        *connection = None;
    }
    written.is_ok()
}

/// A transaction that has a number is written to the log and flushed, as a write of the replicas is.
fn commit(connection: &mut Option<Postgres>, endpoints: &Endpoints) -> Result<(), StackError> {
    let postgres = match connection {
        Some(postgres) => postgres,
        None => connection.insert(Postgres::connect(endpoints)?),
    };
    let committed = postgres.run("SELECT pg_current_xact_id()");
    if committed.is_err() {
        *connection = None;
    }
    committed
}
