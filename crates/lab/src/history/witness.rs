//! Writes to Redis all the time, from outside of the replicas: a time in which it gets no reply soon is one in which
//! they may have got none. This keeps a busy machine from looking like a broken promise.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{Broken, Line, file::Log, recorder::Clock};
use crate::admin::Redis;

/// Half of what a replica waits for one attempt in the recorded stacks.
const SLOW: Duration = Duration::from_millis(20);
/// Between two writes.
const PAUSE: Duration = Duration::from_millis(5);
/// A reply that does not come for so long is not awaited: the connection is given up.
const PATIENCE: Duration = Duration::from_millis(200);

/// Notes every silence until it is told to stop.
pub(super) fn watch(url: &str, clock: Clock, log: &Log, stop: &AtomicBool) {
    let mut connection = None;
    let mut answered = clock.now();
    while !stop.load(Ordering::Relaxed) {
        let before = Instant::now();
        let replied = write(&mut connection, url);
        thread::sleep(PAUSE);
        let now = clock.now();
        // Also when this thread did not run for so long: then others did not, either.
        if !replied || before.elapsed() > SLOW + PAUSE {
            let what = "redis was silent, or the machine stalled".to_owned();
            log.add(Line::Broken(Broken { what, from: answered, to: now, redis: true }));
        }
        answered = now;
    }
}

fn write(connection: &mut Option<Redis>, url: &str) -> bool {
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
