//! A write that Redis missed is seen within the stated time, by all who come together. That acknowledged writes stay and
//! are seen under every other fault is held by a recorded history: see `tests/history`.

use std::{
    collections::BTreeMap,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Request},
    support::{Place, wait_until},
};

const READERS: usize = 8;

/// `CACHE_FRESH` of this stack.
const FRESH: Duration = Duration::from_secs(1);
/// How long an older version may be seen after a write of which Redis did not hear: as long as an entry is fresh, one
/// renewal of it (a whole request), and what a busy machine adds.
const BOUND: Duration = FRESH.saturating_add(Duration::from_millis(300 + 400));

#[test]
fn a_write_that_redis_missed_is_seen_by_all_who_come_together_after_the_bound() {
    let place = Place::new();
    let status = place.up(&["--replicas", "1", "--env", "CACHE_FRESH=1s", "--env", "STALE_IF_ERROR=off"]);
    let url = |id: u64| format!("{}/data/{id}", status.replicas[0].url);
    let is_hit = |answer: &Answer| answer.header("cache-status").is_some_and(|status| status.contains("; hit"));
    let ids = 101..=120;
    for id in ids.clone() {
        wait_until("an entry", || is_hit(&Request::get(url(id)).send()));
    }
    place.ok(&["fault", "pause", "redis"]);
    // Once the breaker is open nothing is sent to Redis that it would find when it goes on.
    let bypass = "redis; fwd=bypass; detail=breaker_open";
    wait_until("an open breaker", || Request::get(url(1)).send().header("cache-status") == Some(bypass));
    let mut versions = BTreeMap::new();
    for id in ids.clone() {
        let mut answer = None;
        wait_until("a write", || {
            answer = Some(Request::new("PUT", url(id)).record("missed", "while Redis is paused").send());
            answer.as_ref().is_some_and(|answer| answer.status == 200)
        });
        versions.insert(id, version(&answer.unwrap()));
    }
    let last = Instant::now();
    wait_until("the end of the bound", || last.elapsed() > BOUND);
    place.ok(&["heal", "redis"]);
    wait_until("hits", || is_hit(&Request::get(url(1)).send()));

    for id in ids {
        let together = Barrier::new(READERS);
        let answers: Vec<Answer> = thread::scope(|scope| {
            let ask = || {
                together.wait();
                Request::get(url(id)).send()
            };
            let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(ask)).collect();
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        for answer in answers.iter().filter(|answer| answer.status == 200) {
            assert!(version(answer) >= versions[&id], "{:?} after the write: {answer:?}", answer.began - last);
        }
    }
}

fn version(answer: &Answer) -> i64 {
    answer.json()["version"].as_i64().unwrap()
}
