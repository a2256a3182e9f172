//! Writes to Redis and commits in Postgres continuously, from outside the replicas. When one of these takes long, the
//! replicas may have been waiting too, so that a busy machine does not look like a broken promise.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use stack::StackError;

use super::{
    Broken, Line,
    file::Log,
    recorder::{Clock, RECOVERY, REPAIR, micros},
};
use crate::admin::{Postgres, Redis};

/// Half of the default time-out of a replica for one Redis attempt, 40 ms.
const REDIS_IS_SLOW: Duration = Duration::from_millis(20);
/// Half of the default statement time-out, 150 ms.
const POSTGRES_IS_SLOW: Duration = Duration::from_millis(75);
/// The interval of checks.
const PAUSE: Duration = Duration::from_millis(5);
/// If a reply of Redis takes longer, the connection is given up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Records every silence of Redis until it is stopped.
pub(super) fn watch_redis(url: &str, clock: Clock, log: &Log, stop: &AtomicBool) {
    let mut connection = None;
    let note = |from, to| log.add(silence("redis", from, to, true));
    watch(REDIS_IS_SLOW, clock, stop, note, || set(&mut connection, url));
}

/// Records every silence of Postgres until it is stopped.
pub(super) fn watch_postgres(url: &str, clock: Clock, log: &Log, stop: &AtomicBool) {
    let mut connection = None;
    let note = |from, to| log.add(silence("postgres", from, to, false));
    watch(POSTGRES_IS_SLOW, clock, stop, note, || commit(&mut connection, url).is_ok());
}

fn silence(server: &str, from: u64, to: u64, redis: bool) -> Line {
    let what = format!("{server} was silent, or the machine stalled");
    let repaired = to.saturating_add(micros(RECOVERY + REPAIR));
    Line::Broken(Broken { what, from, to, repaired, redis, ended: false, late_only: false })
}

/// Checks repeatedly, and records each silence when it ends. A long time in which this thread does not run counts too,
/// because other threads may not run either.
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
    // A key that the replicas do not use, and that expires by itself.
    let written = redis.command(&["SET", "history:witness", "x", "PX", "1000"]);
    if written.is_err() {
        *connection = None;
    }
    written.is_ok()
}

/// A transaction with an id is written to the log and flushed, like a write of the replicas.
fn commit(connection: &mut Option<Postgres>, url: &str) -> Result<(), StackError> {
    let postgres = match connection {
        Some(postgres) => postgres,
        None => connection.insert(Postgres::open(url)?),
    };
    let committed = postgres.run("SELECT pg_current_xact_id()");
    if committed.is_err() {
        *connection = None;
    }
    committed
}
