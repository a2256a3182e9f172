//! What was acknowledged stays, and is seen: by every replica at once while Redis answers, and within a stated time when
//! Redis was away at the moment of the write.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Load, Request},
    support::{Place, wait_for_answer, wait_until},
};

const RECORDS: u64 = 4;
const WRITERS: usize = 3;
const READERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(15);

/// `CACHE_FRESH` of this stack.
const FRESH: Duration = Duration::from_secs(1);
/// How long an older version may be seen after a write of which Redis did not hear: as long as an entry is fresh, one
/// renewal of it (a whole request), and what a busy machine adds.
const BOUND: Duration = FRESH.saturating_add(Duration::from_millis(300 + 400));
/// From when Redis answers until every replica uses it again: the recovery that is promised.
const RECOVERY: Duration = Duration::from_secs(2);

/// An acknowledged write.
#[derive(Debug)]
struct Write {
    version: i64,
    value: String,
    began: Instant,
    acknowledged: Instant,
}

/// Faults of Redis: which, for how many milliseconds, and for how many all is well after it. Irregular, and the same in
/// every run.
const FAULTS: [(&str, u64, u64); 4] =
    [("kill", 700, 3300), ("pause", 2300, 3100), ("kill", 1900, 3400), ("pause", 400, 2900)];

#[test]
fn acknowledged_writes_are_seen_by_all_and_never_lost_while_redis_comes_and_goes() {
    let place = Place::new();
    let status = place.up(&[
        "--replicas",
        "3",
        "--env",
        "CACHE_FRESH=1s",
        // An old answer because Postgres was slow on a busy machine would look like what is searched for here.
        "--env",
        "STALE_IF_ERROR=off",
        // Longer than the default, so that Redis counts as silent when it is paused and not when the machine is busy.
        "--env",
        "REDIS_ATTEMPT_TIMEOUT=80ms",
        "--env",
        "REDIS_TIMEOUT=160ms",
    ]);
    let mut bases: Vec<String> = status.replicas.iter().map(|replica| replica.url.clone()).collect();
    bases.push(status.base_url);
    for base in &bases {
        (1..=RECORDS).for_each(|id| wait_for_answer(&format!("{base}/data/{id}")));
    }

    let started = Instant::now();
    let of = bases.clone();
    let reads =
        Load::start(READERS, PAUSE, move |reader, number| Request::get(url(&of, reader as u64 + number, number)));
    let of = bases.clone();
    let writes = Load::start(WRITERS, 2 * PAUSE, move |writer, number| {
        let value = format!("write {number} of writer {writer}");
        Request::new("PUT", url(&of, writer as u64 + number / 3, number * 7 / 3)).record("consistency", &value)
    });
    let away = faults(&place);
    let writes = writes.stop();
    // Readers go on for as long as anything old may be seen.
    let last = Instant::now();
    wait_until("the end of the bound", || last.elapsed() > BOUND);
    let reads = reads.stop();

    let books = Books::new(&writes);
    let mut strict = 0;
    let mut wrong = Vec::new();
    for read in reads.iter().filter(|read| read.status == 200) {
        let (id, version, value) = record(read);
        if books.value(id, version).is_some_and(|written| written != value) {
            wrong.push(format!("version {version} of {id} has another value than was acknowledged: {read:?}"));
        }
        strict += usize::from(!books.missed_by_redis(id, read.began, &away));
        if let Some(missed) = books.first_missed(id, version, read.began, &away) {
            let after = read.began - missed.acknowledged;
            let at = missed.acknowledged - started;
            wrong.push(format!(
                "version {version} was read {after:?} after {missed:?} was acknowledged (at {at:?}): {read:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{} reads of {}: {:#?}", wrong.len(), reads.len(), &wrong[..wrong.len().min(5)]);
    assert!(strict > 100 && strict * 10 > reads.len(), "{strict} of {} reads allow nothing old", reads.len());

    assert_few_refused(&reads);
    assert_few_refused(&writes);
    for id in 1..=RECORDS {
        let last = books.last(id);
        for base in &bases {
            let answer = read_now(base, id);
            let (_, version, value) = record(&answer);
            assert!(version >= last.version, "{last:?} is lost at {base}: {answer:?}");
            assert!(version > last.version || value == last.value, "{last:?}: {answer:?}");
        }
        // Postgres's own word: it replaces only what has this version.
        let (_, version, _) = record(&read_now(&bases[0], id));
        let replace = Request::new("PUT", format!("{}/data/{id}", bases[0])).record("consistency", "the last");
        let replaced = replace.header("If-Match", format!("\"{version}\"")).send();
        assert_eq!(replaced.status, 200, "{replaced:?}");
        assert_eq!(record(&replaced).1, version + 1);
    }
}

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
        versions.insert(id, record(&answer.unwrap()).1);
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
            assert!(record(answer).1 >= versions[&id], "{:?} after the write: {answer:?}", answer.began - last);
        }
    }
}

/// Breaks and heals Redis. From when to when each time it may have been away for some replica.
fn faults(place: &Place) -> Vec<Range<Instant>> {
    let calm = |milliseconds| thread::sleep(Duration::from_millis(milliseconds));
    calm(1000);
    let break_redis = |(fault, away, well): &(&str, u64, u64)| {
        let begin = Instant::now();
        place.ok(&["fault", fault, "redis"]);
        calm(*away);
        place.ok(&["heal", "redis"]);
        let end = Instant::now() + RECOVERY;
        calm(*well);
        begin..end
    };
    FAULTS.iter().map(break_redis).collect()
}

/// All that was acknowledged, by record and version.
struct Books(BTreeMap<u64, BTreeMap<i64, Write>>);

impl Books {
    fn new(writes: &[Answer]) -> Self {
        let mut books: BTreeMap<u64, BTreeMap<i64, Write>> = BTreeMap::new();
        for write in writes.iter().filter(|write| write.status == 200) {
            let (id, version, value) = record(write);
            let note = Write { version, value, began: write.began, acknowledged: write.began + write.took };
            let before = books.entry(id).or_default().insert(version, note);
            assert!(before.is_none(), "two writes were given version {version} of {id}: {before:?}, {write:?}");
        }
        Self(books)
    }

    fn value(&self, id: u64, version: i64) -> Option<&str> {
        Some(&self.0[&id].get(&version)?.value)
    }

    fn last(&self, id: u64) -> &Write {
        self.0[&id].last_key_value().unwrap().1
    }

    /// A newer version that a read which began `at` had to see.
    fn first_missed(&self, id: u64, version: i64, at: Instant, away: &[Range<Instant>]) -> Option<&Write> {
        let newer = self.0[&id].range(version + 1..).map(|(_, write)| write);
        newer.filter(|write| write.acknowledged <= at).find(|write| !write.may_be_missed(at, away))
    }

    /// Whether the latest write before `at` is one that need not be seen yet.
    fn missed_by_redis(&self, id: u64, at: Instant, away: &[Range<Instant>]) -> bool {
        let before = self.0[&id].values().rfind(|write| write.acknowledged <= at);
        before.is_none_or(|write| write.may_be_missed(at, away))
    }
}

impl Write {
    fn may_be_missed(&self, at: Instant, away: &[Range<Instant>]) -> bool {
        let unheard = away.iter().any(|away| self.began < away.end && away.start < self.acknowledged);
        unheard && at < self.acknowledged + BOUND
    }
}

fn url(bases: &[String], base: u64, record: u64) -> String {
    format!("{}/data/{}", bases[base as usize % bases.len()], record % RECORDS + 1)
}

/// Id, version and value.
fn record(answer: &Answer) -> (u64, i64, String) {
    let json = answer.json();
    (json["id"].as_u64().unwrap(), json["version"].as_i64().unwrap(), json["value"].as_str().unwrap().to_owned())
}

/// A read that a busy machine may refuse at first.
fn read_now(base: &str, id: u64) -> Answer {
    let mut answer = None;
    wait_until("a record", || {
        answer = Some(Request::get(format!("{base}/data/{id}")).send());
        answer.as_ref().is_some_and(|answer| answer.status == 200)
    });
    answer.unwrap()
}

/// Postgres was there all the time. One in a hundred is what a busy machine may cost.
fn assert_few_refused(answers: &[Answer]) {
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    for answer in &refused {
        assert!(answer.status == 503 && answer.code().starts_with("database_"), "{answer:?}");
    }
    assert!(refused.len() * 100 <= answers.len(), "{} of {}: {:?}", refused.len(), answers.len(), refused.first());
}
