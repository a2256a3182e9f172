//! Records a history on its own stack.
//!
//! # In the order of time
//! ## Start
//! The stack is started, and the initial state of the shared records is recorded.
//! ## Break
//! Clients write and read. The steps of the schedule run one after the other: each injects its faults, holds them and
//! undoes them, followed by a healthy interval.
//! ## Quiet
//! The clients stop. When every replica is healthy and all bounds on stale data have passed, Postgres and every replica
//! are queried for every record that the clients know.
//! ## End
//! The stack is removed, with everything that was broken in it, also after an interrupt or a failure.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use stack::{Login, Operation, ReplicaEndpoint, Silent, Stack, StackError, UpOptions, down};

use super::{
    Broken, Head, History, Item, Last, Line,
    call::{POSTGRES, SCHEMA},
    file::Log,
    load::{Answer, Base, Client, Load},
    population::{FIRST_PAGE, Population},
    schedule::{Aim, SHORT, Step, schedule},
    witness,
};
use crate::{admin::Postgres, client::Request};

const WRITERS: u32 = 5;
const READERS: u32 = 7;
/// `CACHE_FRESH` of the recorded stack: longer than Redis takes to receive the writes that it missed, so that this
/// effect is visible.
const FRESH: Duration = Duration::from_secs(10);
/// The same for a short recording.
const SHORT_FRESH: Duration = Duration::from_millis(1_500);
/// How long after its fresh time the renewal of an entry may take.
const RENEWAL: Duration = Duration::from_millis(300);
/// The allowance for a busy machine.
const ALLOWANCE: Duration = Duration::from_millis(700);
/// nginx's read time-out: how long a write without an answer may still be in flight.
const WINDOW: Duration = Duration::from_secs(1);
/// The promise of `NEAR_CACHE`: the longest time for which an answer may miss another replica's last write.
const NEAR: Duration = Duration::from_millis(200);
/// The promised recovery time: from a dependency's first answer until every replica uses it again.
pub(super) const RECOVERY: Duration = Duration::from_secs(2);
/// The time from then until Redis has received every write that it missed: four times what the replicas need.
pub(super) const REPAIR: Duration = Duration::from_secs(2);
/// The limit until everything is healthy again on a busy machine: ten times the promise.
const QUIET_WITHIN: Duration = Duration::from_secs(20);
/// The number of records that are compared between all replicas in the end.
const COMPARED: usize = 400;

/// What to record.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How to start the stack; nothing else may use the folder.
    pub up: UpOptions,
    /// The length of the recording.
    pub duration: Duration,
    /// The seed of the load and of the faults.
    pub seed: u64,
    /// The kinds of faults, and the time between them.
    pub aim: Aim,
    /// Whether `NEAR_CACHE=on`.
    pub near_cache: bool,
    /// The file of the history, which must not exist.
    pub out: PathBuf,
}

impl Plan {
    fn fresh(&self) -> Duration {
        if self.duration < SHORT { SHORT_FRESH } else { FRESH }
    }
}

/// Time since the recording began.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock(Instant);

impl Clock {
    /// Microseconds.
    pub(super) fn now(self) -> u64 {
        micros(self.0.elapsed())
    }
}

/// Records a history.
///
/// # Errors
/// The stack could not be started, broken, healed or queried; the file could not be written; or the recording was
/// interrupted. The calls until then are in the file. The history is not judged here.
pub fn record(plan: &Plan, operation: &Operation<'_>) -> Result<History, StackError> {
    let head = Head {
        schema: SCHEMA,
        seed: plan.seed,
        bound_us: micros(plan.fresh() + RENEWAL + ALLOWANCE),
        window_us: micros(WINDOW),
        near_us: if plan.near_cache { micros(NEAR) } else { 0 },
    };
    let log = Log::create(&plan.out, head)?;
    let mut up = plan.up.clone();
    up.env.insert(0, ("CACHE_FRESH".to_owned(), format!("{}ms", plan.fresh().as_millis())));
    if plan.near_cache {
        up.env.insert(0, ("NEAR_CACHE".to_owned(), "on".to_owned()));
    }
    let recorded = Stack::up(&up, operation).and_then(|stack| {
        let recorded = Recorder::new(&stack, plan, &log, operation).and_then(|recorder| recorder.run());
        // This also runs after an interrupt, so that nothing is left running or broken.
        let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
        recorded.and(down(&up.folder, true, &undo).map(drop))
    });
    let kept = log.finish();
    recorded.and(kept)
}

pub(super) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

struct Recorder<'a> {
    stack: &'a Stack,
    plan: &'a Plan,
    log: &'a Log,
    operation: &'a Operation<'a>,
    replicas: Vec<ReplicaEndpoint>,
    bases: Vec<Base>,
    clock: Clock,
}

/// Stops the clients even if the recorder fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl<'a> Recorder<'a> {
    fn new(stack: &'a Stack, plan: &'a Plan, log: &'a Log, operation: &'a Operation<'a>) -> Result<Self, StackError> {
        let endpoints = stack.endpoints()?;
        let mut bases = vec![Base { name: "nginx".to_owned(), address: address(&endpoints.base_url)? }];
        for replica in &endpoints.replicas {
            bases.push(Base { name: replica.name.to_string(), address: address(&replica.url)? });
        }
        Ok(Self { stack, plan, log, operation, replicas: endpoints.replicas, bases, clock: Clock(Instant::now()) })
    }

    fn run(&self) -> Result<(), StackError> {
        let known = Postgres::connect(self.stack)?.records()?;
        let newest = known.last().map_or(0, |(id, ..)| *id);
        for record in known.into_iter().filter(|(id, ..)| FIRST_PAGE.contains(id)) {
            self.log.add(Line::Initial { item: Item::from(record) });
        }
        let population = Population::new(newest);
        self.put_proxies_between()?;
        if !self.becomes_well()? {
            return Err(StackError::Conflict("the replicas do not become healthy".to_owned()));
        }
        let (postgres, redis) = (self.stack.url(Login::PostgresAdmin)?, self.stack.url(Login::RedisAdmin)?);
        let stop = AtomicBool::new(false);
        let (bases, log, clock) = (self.bases.as_slice(), self.log, self.clock);
        let load = Load { bases, population: &population, log, clock, stop: &stop };
        thread::scope(|scope| {
            let _stop = StopOnDrop(&stop);
            for number in 0..WRITERS + READERS {
                let client = Client::new(number, self.plan.seed, &load);
                let is_writer = number < WRITERS;
                scope.spawn(move || if is_writer { client.write_until_stopped() } else { client.read_until_stopped() });
            }
            scope.spawn(|| witness::watch_redis(&redis, clock, log, &stop));
            scope.spawn(|| witness::watch_postgres(&postgres, clock, log, &stop));
            self.break_one_after_the_other()
        })?;
        self.compare(&population)?;
        self.log.add(Line::End);
        Ok(())
    }

    fn schedule(&self) -> Vec<Step> {
        let replicas = u32::try_from(self.replicas.len()).unwrap_or(u32::MAX);
        schedule(self.plan.seed, self.plan.duration, replicas, &self.plan.aim)
    }

    /// The proxies that faults of the schedule need, before anything is recorded: the replicas are restarted for them.
    fn put_proxies_between(&self) -> Result<(), StackError> {
        let quiet = Operation { progress: &Silent, interrupt: self.operation.interrupt.clone() };
        let steps = self.schedule();
        let fault = steps.iter().flat_map(|step| &step.faults).find(|fault| fault.needs_a_proxy());
        fault.map_or(Ok(()), |fault| {
            fault.bring_about(self.stack, &quiet)?;
            fault.undo(self.stack, &quiet)
        })
    }

    fn break_one_after_the_other(&self) -> Result<(), StackError> {
        let start = Instant::now();
        self.sleep(Duration::from_millis(500))?;
        for step in self.schedule() {
            // What takes long to undo takes the time of what would come later.
            if start.elapsed() + step.hold > self.plan.duration {
                break;
            }
            let names: Vec<String> = step.faults.iter().map(ToString::to_string).collect();
            let text =
                format!("{} of {} s: {}", start.elapsed().as_secs(), self.plan.duration.as_secs(), names.join(", "));
            self.operation.progress.begin(&text);
            let outcome = self.take(&step)?;
            self.operation.progress.end(&format!("{outcome}; {} calls so far", self.log.calls()));
            self.log.flush()?;
        }
        // A recording that is too short for a fault has none.
        self.sleep(self.plan.duration.saturating_sub(start.elapsed()))
    }

    /// One step of the schedule.
    fn take(&self, step: &Step) -> Result<&'static str, StackError> {
        // The progress display shows the step, not each start of a server in it.
        let quiet = Operation { progress: &Silent, interrupt: self.operation.interrupt.clone() };
        let mut broken = Vec::new();
        let mut outcome = "undone";
        for fault in &step.faults {
            let from = self.clock.now();
            match fault.bring_about(self.stack, &quiet) {
                Ok(()) => broken.push((*fault, from)),
                Err(StackError::NotPermitted { .. }) => outcome = "not permitted on this machine",
                Err(error) => return Err(error),
            }
        }
        if !broken.is_empty() {
            self.sleep(step.hold)?;
        }
        for (fault, from) in broken {
            fault.undo(self.stack, &quiet)?;
            let to = self.clock.now().saturating_add(micros(RECOVERY));
            let (redis, ended) = (fault.keeps_redis_from_writes(), fault.ends_a_replica());
            let repaired = to.saturating_add(micros(REPAIR));
            let (what, late_only) = (fault.to_string(), fault.leaves_doubt_to_the_replica());
            self.log.add(Line::Broken(Broken { what, from, to, repaired, redis, ended, late_only }));
        }
        self.sleep(step.calm)?;
        Ok(outcome)
    }

    fn sleep(&self, time: Duration) -> Result<(), StackError> {
        self.operation.interrupt.sleep(time);
        self.operation.interrupt.check()
    }

    /// Returns false on a time-out.
    fn becomes_well(&self) -> Result<bool, StackError> {
        let give_up = Instant::now() + QUIET_WITHIN;
        let replicas = &self.replicas;
        let is_well = |url: &str| {
            let healthy = stack::get(&format!("{url}/health"), Duration::from_secs(3));
            healthy.is_ok_and(|health| health.status == 200 && health.body.contains(r#""status":"pass","version""#))
        };
        while !replicas.iter().all(|replica| is_well(&replica.url)) {
            self.sleep(Duration::from_millis(50))?;
            if Instant::now() > give_up {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The final state according to Postgres and every replica.
    fn compare(&self, population: &Population) -> Result<(), StackError> {
        self.operation.progress.begin("waiting until everything old is over");
        // A replica that is not healthy by then is queried anyway, and its silence is recorded.
        self.becomes_well()?;
        self.sleep(self.plan.fresh() + RENEWAL + ALLOWANCE + WINDOW)?;
        self.operation.progress.end("done");
        self.operation.progress.begin("comparing the replicas with Postgres");
        let ids = population.to_compare(COMPARED);
        let records = Postgres::connect(self.stack)?.records()?;
        let known = population.all();
        let mut missing = known.clone();
        // This includes records that no client knows: a POST in doubt may have created them.
        for record in records.into_iter().filter(|(id, _, value)| known.contains(id) || value.starts_with('w')) {
            let item = Item::from(record);
            missing.remove(&item.id);
            self.last(POSTGRES, item.id, Some(item));
        }
        for id in missing {
            self.last(POSTGRES, id, None);
        }
        for base in self.bases.iter().skip(1) {
            for id in &ids {
                let Some(item) = self.read_now(base, *id)? else {
                    self.log.add(Line::Last(Last { at: base.name.clone(), id: *id, item: None, silent: true }));
                    break;
                };
                self.last(&base.name, *id, item);
            }
        }
        self.operation.progress.end(&format!("{} records", ids.len()));
        Ok(())
    }

    fn last(&self, at: &str, id: i64, item: Option<Item>) {
        self.log.add(Line::Last(Last { at: at.to_owned(), id, item, silent: false }));
    }

    /// A busy machine may refuse a read at first. `None`: it is still refused after a long time.
    fn read_now(&self, base: &Base, id: i64) -> Result<Option<Option<Item>>, StackError> {
        let give_up = Instant::now() + QUIET_WITHIN;
        while Instant::now() < give_up {
            let answer = Answer(Request::new("GET", format!("/data/{id}")).send(base.address));
            match (answer.status(), answer.item()) {
                (200, Some(item)) => return Ok(Some(Some(item))),
                (404, _) => return Ok(Some(None)),
                _ => self.sleep(Duration::from_millis(20))?,
            }
        }
        Ok(None)
    }
}

fn address(url: &str) -> Result<SocketAddr, StackError> {
    let address = url.strip_prefix("http://").and_then(|rest| rest.trim_end_matches('/').parse().ok());
    address.ok_or_else(|| StackError::Usage(format!("{url} is not an address of this machine")))
}
