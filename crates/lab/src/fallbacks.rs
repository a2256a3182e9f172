//! The fallback matrix on a real stack: every row is brought about, measured, judged against its bound, and undone.
//!
//! # In the order of time, for each row
//! ## Prepare
//! Everything is up and every breaker closed. The entry that the row is about is brought into its state: fresh, old, or
//! not there.
//! ## Break
//! The conditions of the row, in its order.
//! ## First answers
//! One replica is asked again and again until its breaker is open (or for a while, where none opens): every answer is
//! judged by what it says, and the slowest by the row's bound.
//! ## Once the breaker is open
//! Twenty more. The median is judged: each second one of them is the breaker's own probe, which takes its time.
//! ## Through nginx
//! The same from outside.
//! ## Recover
//! The conditions are undone; counted is the time from the dependency's return to the first good answer.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use stack::{Operation, Stack, StackError, UpOptions};

mod condition;
mod page;
mod row;

pub use self::page::render;
use self::{
    condition::Broken,
    row::{Bounded, Entry, Row},
};

/// How long an entry is fresh here: long enough to break something meanwhile, short enough to wait for its end.
const FRESH: Duration = Duration::from_secs(5);
/// A request that takes longer than any bound is a hang.
const HANG: Duration = Duration::from_secs(3);
/// How long to look for the breaker to open, and how many answers are enough where none does.
const OPENS_WITHIN: Duration = Duration::from_secs(6);
const ENOUGH: usize = 10;
/// Answers that are measured once the breaker is open, and through nginx.
const OPEN_ANSWERS: usize = 20;
const NGINX_ANSWERS: usize = 12;
/// Ids from here on are no record's.
const UNKNOWN_IDS: u64 = 1 << 40;
/// From the dependency's return to the first good answer.
pub const RECOVERS_WITHIN: Duration = Duration::from_secs(2);

/// What a row measured.
#[derive(Debug, Clone)]
pub struct Measured {
    row: Row,
    first: Answers,
    open: Option<Answers>,
    recovery: Option<Duration>,
    /// What is not as the row says; empty when it held.
    pub deviations: Vec<String>,
    /// Why the row could not be brought about on this machine.
    pub impossible: Option<String>,
}

impl Measured {
    /// The row in words.
    pub fn name(&self) -> String {
        self.row.to_string()
    }
}

/// The times of some answers, in the order of their coming.
#[derive(Debug, Clone, Default)]
struct Answers(Vec<Duration>);

impl Answers {
    fn slowest(&self) -> Duration {
        self.0.iter().copied().max().unwrap_or_default()
    }

    fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// How a run of the matrix is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How to start the stack; the folder must be one that nothing else uses.
    pub up: UpOptions,
    /// How much later than its bound an answer may be, as a part of the bound: 0.25 allows 100 ms for 80 ms.
    pub allowance: f64,
}

impl Plan {
    /// A throw-away stack in `folder`, whose entries grow old quickly.
    pub fn new(up: UpOptions, folder: PathBuf, allowance: f64) -> Self {
        let mut env = vec![("CACHE_FRESH".to_owned(), format!("{}ms", FRESH.as_millis()))];
        env.extend(up.env);
        Self { up: UpOptions { folder, env, port: Some(0), replicas: 3, ..up }, allowance }
    }
}

/// Runs every row on a stack of its own, which is gone afterwards.
///
/// # Errors
/// The stack could not be started, broken or healed; a row that deviates is no error.
pub fn run(plan: &Plan, operation: &Operation<'_>) -> Result<Vec<Measured>, StackError> {
    let stack = Stack::up(&plan.up, operation)?;
    let measured = stack.reserve("lab fallbacks", operation).and_then(|session| {
        let bench = Bench::new(&session, plan, operation)?;
        row::all().into_iter().map(|row| bench.measure(row)).collect()
    });
    // Also after an interrupt: nothing is left running.
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    stack::down(&plan.up.folder, true, &undo)?;
    measured
}

struct Bench<'a> {
    stack: &'a Stack,
    allowance: f64,
    operation: &'a Operation<'a>,
    replica: String,
    nginx: String,
    unknown: AtomicU64,
}

impl<'a> Bench<'a> {
    fn new(stack: &'a Stack, plan: &'a Plan, operation: &'a Operation<'a>) -> Result<Self, StackError> {
        let endpoints = stack.endpoints()?;
        let replica = endpoints.replicas.first().map(|replica| replica.url.clone()).unwrap_or_default();
        Ok(Self {
            stack,
            allowance: plan.allowance,
            operation,
            replica,
            nginx: endpoints.base_url,
            unknown: AtomicU64::new(UNKNOWN_IDS),
        })
    }

    fn measure(&self, row: Row) -> Result<Measured, StackError> {
        self.operation.interrupt.check()?;
        self.operation.progress.begin(&row.to_string());
        self.wait_until_all_is_well()?;
        let path = format!("/data/{}", row.id);
        self.prepare(row.entry, &path)?;
        let mut measured = Measured {
            first: Answers::default(),
            open: None,
            recovery: None,
            deviations: vec![],
            impossible: None,
            row,
        };
        let broken = match Broken::bring_about(&measured.row, self.stack, self.operation) {
            Ok(broken) => broken,
            Err(StackError::NotPermitted { .. }) => {
                self.stack.heal(None, self.operation)?;
                self.operation.progress.end("not permitted on this machine");
                measured.impossible = Some("not permitted on this machine".to_owned());
                return Ok(measured);
            }
            Err(error) => return Err(error),
        };
        self.observe(&mut measured, &path)?;
        let back = broken.undo(self.stack, self.operation)?;
        if measured.row.is_broken() {
            self.recover(&mut measured, &path, back);
        }
        self.operation.progress.end(if measured.deviations.is_empty() { "held" } else { "deviated" });
        for deviation in &measured.deviations {
            self.operation.progress.note(deviation);
        }
        Ok(measured)
    }

    /// An id that is no record's and that no cache knows.
    fn unknown_id(&self) -> u64 {
        self.unknown.fetch_add(1, Ordering::Relaxed)
    }

    fn wait_until_all_is_well(&self) -> Result<(), StackError> {
        self.stack.heal(None, self.operation)?;
        let replicas = self.stack.endpoints()?.replicas;
        let is_well = |url: &str| {
            // A breaker closes with a good call: the id is one that no cache knows.
            let reaches_postgres =
                stack::get(&format!("{url}/data/{}", self.unknown_id()), HANG).is_ok_and(|answer| answer.status == 404);
            let passes = stack::get(&format!("{url}/health"), HANG)
                .is_ok_and(|health| health.body.contains(r#""status":"pass","version""#));
            reaches_postgres
                && passes
                && ["redis", "postgres"].iter().all(|dependency| breaker_state(url, dependency) == Some(0))
        };
        let give_up = Instant::now() + Duration::from_secs(30);
        while !replicas.iter().all(|replica| is_well(&replica.url)) {
            self.operation.interrupt.check()?;
            if Instant::now() > give_up {
                return Err(StackError::Conflict("the stack does not become healthy between two rows".to_owned()));
            }
            self.operation.interrupt.sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn prepare(&self, entry: Entry, path: &str) -> Result<(), StackError> {
        match entry {
            Entry::None | Entry::Any => return Ok(()),
            Entry::Fresh | Entry::Old => {}
        }
        let url = format!("{}{path}", self.replica);
        let give_up = Instant::now() + Duration::from_secs(30);
        while !stack::get(&url, HANG).is_ok_and(|answer| row::is_good(&answer)) {
            self.operation.interrupt.check()?;
            if Instant::now() > give_up {
                return Err(StackError::Conflict(format!("{path} does not get into the cache")));
            }
        }
        if entry == Entry::Old {
            // Asking would renew it: its time has to pass.
            self.operation.interrupt.sleep(FRESH + Duration::from_millis(100));
        }
        Ok(())
    }

    fn observe(&self, measured: &mut Measured, path: &str) -> Result<(), StackError> {
        let breaker = measured.row.breaker();
        let end = Instant::now() + OPENS_WITHIN;
        let is_open = || breaker.is_some_and(|dependency| breaker_state(&self.replica, dependency) == Some(2));
        let enough = |first: &Answers| breaker.is_none() && first.0.len() >= ENOUGH;
        while !is_open() && !enough(&measured.first) && Instant::now() < end {
            self.operation.interrupt.check()?;
            let first = self.ask(measured, &self.replica, path, "first");
            measured.first.0.extend(first.0);
        }
        measured.check("the first answers", measured.first.slowest(), measured.row.expected.first, self.allowance);
        if let Some(bound) = measured.row.expected.open {
            if is_open() {
                let mut open = Answers::default();
                while open.0.len() < OPEN_ANSWERS {
                    open.0.extend(self.ask(measured, &self.replica, path, "open").0);
                }
                measured.check("answers with the breaker open (median)", open.median(), Some(bound), self.allowance);
                measured.open = Some(open);
            } else {
                measured.deviations.push(format!("the breaker did not open within {OPENS_WITHIN:?}"));
            }
        }
        let mut through = Answers::default();
        while through.0.len() < NGINX_ANSWERS {
            through.0.extend(self.ask(measured, &self.nginx, path, "nginx").0);
        }
        measured.check("answers through nginx", through.slowest(), measured.row.expected.first, self.allowance);
        Ok(())
    }

    /// As many requests at the same time as the row wants: judges what they say and returns what is bounded of them.
    fn ask(&self, measured: &mut Measured, base: &str, path: &str, phase: &str) -> Answers {
        let row = &measured.row;
        let url = || match row.at_once() {
            1 => format!("{base}{path}"),
            // Each asks for an id of its own: a crowd that wants the same would be served by one read.
            _ => format!("{base}/data/{}", self.unknown_id()),
        };
        let asked: Vec<(Duration, Result<(), String>)> = thread::scope(|scope| {
            let asking: Vec<_> = (0..row.at_once())
                .map(|_| {
                    let url = url();
                    scope.spawn(move || ask_once(row, &url))
                })
                .collect();
            asking.into_iter().filter_map(|asked| asked.join().ok()).collect()
        });
        let deviations = asked.iter().filter_map(|(_, judged)| judged.as_ref().err());
        measured.deviations.extend(deviations.map(|deviation| format!("{phase}: {deviation}")));
        Answers(asked.into_iter().map(|(took, _)| took).collect())
    }

    fn recover(&self, measured: &mut Measured, path: &str, back: Instant) {
        let limit = RECOVERS_WITHIN.mul_f64(1.0 + self.allowance);
        let url = format!("{}{path}", self.replica);
        while !stack::get(&url, HANG).is_ok_and(|answer| row::is_good(&answer)) {
            if back.elapsed() > limit {
                measured.deviations.push(format!("no good answer within {limit:?} of the return"));
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        measured.recovery = Some(back.elapsed());
    }
}

impl Measured {
    fn check(&mut self, what: &str, took: Duration, bound: Option<Duration>, allowance: f64) {
        if let Some(bound) = bound
            && took > bound.mul_f64(1.0 + allowance)
        {
            self.deviations.push(format!("{what}: {took:?}, and {bound:?} is the bound"));
        }
    }
}

fn ask_once(row: &Row, url: &str) -> (Duration, Result<(), String>) {
    let start = Instant::now();
    let answer = stack::get(url, HANG);
    let took = start.elapsed();
    match answer {
        Err(error) => (took, Err(format!("no answer after {took:?}: {error}"))),
        Ok(answer) => {
            let bounded = match row.expected.bounded {
                Bounded::Answer => took,
                Bounded::Redis => row::redis_time(&answer).unwrap_or(took),
            };
            (bounded, row.judge(&answer))
        }
    }
}

/// A breaker's state as the replica's metrics tell it.
fn breaker_state(url: &str, dependency: &str) -> Option<i64> {
    let metrics = stack::get(&format!("{url}/metrics"), HANG).ok()?;
    let series = format!("breaker_state{{dependency=\"{dependency}\"}} ");
    metrics.body.lines().find_map(|line| line.strip_prefix(&series)?.parse().ok())
}
