//! One event loop: sends the requests that are due, reads from the sockets, and counts both.
//!
//! Each round does the following, in order: send all requests that are due, each with its own planned time; end
//! requests that have timed out; deliver the results of a finished step; sleep until a socket is ready or something is
//! due; serve the ready sockets. A completed request frees its connection, and the worker checks at once whether
//! another request is due.
//!
//! A deadline is only checked after every socket that was ready by then has been read, so an answer that has arrived in
//! time counts even if the generator reads it late. After every connection has carried a request, nothing here
//! allocates. Nothing is locked. The clock is read once per answer, and once per send in a burst.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::budget::RetryBudget;
use super::connection::{Cause, Connection, Fault, Shared, Step, Traffic, is_idle_race};
use super::control::{StopRequest, Stopper};
use super::deadlines::Deadlines;
use super::meter::{Effort, Meter};
use super::poller::{BATCH, MAX_SLEEP, Poller, Ready};
use super::stall::StallWatch;
use super::tls::Connector;
use crate::address::Addresses;
use crate::outcome::ErrorClass;
use crate::pacer::{Due, Pacer, WhenFull};
use crate::plan::{Plan, is_idempotent, is_retried};
use crate::record::{Harvest, Recorder, Request};
use crate::report::Stalls;
use crate::template::{Mix, Written};

/// A refused user waits this long before the next attempt. Without the pause a closed loop would spin during an outage,
/// and take CPU time from the server that is recovering.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Large enough to read a body of the stack in one call.
const READ_BUFFER: usize = 64 * 1024;

/// The arguments of a worker.
pub(super) struct Task {
    pub(super) index: usize,
    pub(super) connections: usize,
    pub(super) pacer: Pacer,
    pub(super) mix: Mix,
    pub(super) recorder: Recorder,
    pub(super) addresses: Addresses,
    pub(super) tls: Option<Connector>,
    pub(super) start: Instant,
    pub(super) stopper: Stopper,
    pub(super) harvests: Sender<Delivery>,
}

/// The results of a step, to be added to the others.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) worker: usize,
    pub(super) harvest: Harvest,
    pub(super) is_last: bool,
}

/// What a worker reports at its end in addition to its steps.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) traffic: Traffic,
    pub(super) effort: Effort,
    /// When it stopped.
    pub(super) end: Duration,
    /// When its last recorded request ended.
    pub(super) last_end: Duration,
    /// When it sent its last recorded request.
    pub(super) last_send: Duration,
    /// The time up to which it carried out its schedule.
    pub(super) scheduled: Duration,
    pub(super) stalls: Stalls,
    pub(super) warmup_requests: u64,
    /// The first cause of each class of errors.
    pub(super) causes: Vec<(ErrorClass, Cause)>,
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    pacer: Pacer,
    mix: Mix,
    chance: fastrand::Rng,
    connections: Vec<Connection<'a>>,
    jobs: Vec<Job>,
    /// Slots without a request. The last one freed is used first, so that the others may stay unopened.
    free: Vec<u32>,
    deadlines: Deadlines,
    recorder: Recorder,
    shared: Shared,
    /// The statuses that are retried.
    retried: [bool; 600],
    budget: RetryBudget,
    start: Instant,
    /// The number of requests begun so far, without overlap between workers: `{n}`.
    number: u64,
    number_step: u64,
    next_send: Option<Duration>,
    is_over: bool,
    /// Everything that was ready by this time has been read.
    read_until: Duration,
    /// The number of consecutive polls that returned the maximum of events.
    full_polls: usize,
    causes: Vec<(ErrorClass, Cause)>,
}

/// The request in a slot.
#[derive(Clone, Copy, Debug)]
struct Job {
    request: Request,
    attempts: u32,
    /// When the current attempt began, and how long its connection had been idle by then.
    attempted: Duration,
    idle: Duration,
    /// When the slot last became free with an open connection.
    freed: Duration,
    is_head: bool,
    /// Sent again because its idle connection was closed.
    is_resent: bool,
    state: JobState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobState {
    None,
    Running,
    /// Waiting for a retry.
    BackingOff,
    /// Ended; the slot pauses before its next request.
    Pausing,
}

impl<'a> Worker<'a> {
    pub(super) fn run(task: Task, plan: &'a Plan) -> Result<Ended, Errno> {
        // Random choices differ between workers, and are the same in the next run.
        let chance = fastrand::Rng::with_seed(
            plan.seed.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(task.index as u64 + 1)),
        );
        let job = Job {
            request: Request { kind: 0, planned: Duration::ZERO, sent: Duration::ZERO },
            attempts: 0,
            attempted: Duration::ZERO,
            idle: Duration::ZERO,
            freed: Duration::ZERO,
            is_head: false,
            is_resent: false,
            state: JobState::None,
        };
        let worker = Self {
            plan,
            pacer: task.pacer,
            mix: task.mix,
            chance,
            connections: (0..task.connections).map(|_| Connection::new()).collect(),
            jobs: vec![job; task.connections],
            free: (0..task.connections as u32).rev().collect(),
            deadlines: Deadlines::new(task.connections),
            recorder: task.recorder,
            shared: Shared {
                poller: Poller::new()?,
                addresses: task.addresses.beginning_at(task.index),
                tls: task.tls,
                round_trip: None,
                buffer: vec![0; READ_BUFFER].into_boxed_slice(),
                traffic: Traffic::default(),
            },
            retried: plan.retries.on.table(),
            budget: RetryBudget::new(plan.retries.budget),
            start: task.start,
            number: task.index as u64,
            number_step: plan.threads as u64,
            next_send: None,
            is_over: false,
            read_until: Duration::ZERO,
            full_polls: 0,
            causes: Vec::new(),
        };
        std::thread::sleep(task.start.saturating_duration_since(Instant::now()));
        worker.rounds(task.index, &task.stopper, &task.harvests)
    }

    fn rounds(mut self, index: usize, stopper: &Stopper, harvests: &Sender<Delivery>) -> Result<Ended, Errno> {
        let mut meter = Meter::new(self.plan.warmup);
        let mut watch = StallWatch::new(self.plan.warmup);
        let hand_over = |harvest: Harvest, is_last| {
            // The receiver is gone if the run was abandoned; the stopper signals that shortly after.
            let _abandoned = harvests.send(Delivery { worker: index, harvest, is_last });
        };
        loop {
            let now = self.start.elapsed();
            if watch.begin(now) {
                // Answers that arrived in the meantime free connections for the overdue requests.
                self.poll(now, now)?;
            }
            let request = stopper.request();
            self.is_over |= request != StopRequest::None;
            self.dispatch(now);
            while let Some(slot) = self.deadlines.expired(self.read_until) {
                self.ring(slot, now);
            }
            while let Some(harvest) = self.recorder.roll(now) {
                hand_over(harvest, false);
            }
            if meter.look(now, self.is_over) {
                self.shared.traffic.forget_bytes();
            }
            if request == StopRequest::Cancel || (self.is_over && !self.is_busy()) {
                break;
            }
            let wake = [self.next_send, self.deadlines.next()]
                .into_iter()
                .flatten()
                .fold(self.recorder.step_end(), Duration::min);
            watch.expect(wake.clamp(now, now + MAX_SLEEP));
            self.poll(now, wake)?;
        }
        hand_over(self.recorder.harvest(), true);
        Ok(Ended {
            traffic: self.shared.traffic,
            effort: meter.effort(),
            end: self.start.elapsed(),
            last_end: self.recorder.last_end,
            last_send: self.recorder.last_send,
            scheduled: self.pacer.scheduled(),
            stalls: watch.stalls(),
            warmup_requests: self.recorder.warmup_requests,
            causes: self.causes,
        })
    }

    /// Sleeps until a socket is ready or until `wake`, and serves the sockets that are ready.
    fn poll(&mut self, now: Duration, wake: Duration) -> Result<(), Errno> {
        let ready = self.shared.poller.wait(now, wake)?;
        for index in 0..ready {
            self.serve(self.shared.poller.ready(index));
        }
        // The kernel returns ready sockets in turn: after as many events as there are sockets, each has had its turn.
        self.full_polls = if ready < BATCH { 0 } else { self.full_polls + 1 };
        if ready < BATCH || self.full_polls * BATCH >= self.connections.len() {
            self.full_polls = 0;
            self.read_until = now;
        }
        Ok(())
    }

    fn is_busy(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.state, JobState::Running | JobState::BackingOff))
    }

    /// Sends, or drops, every request that is due.
    fn dispatch(&mut self, mut now: Duration) {
        self.next_send = None;
        while !self.is_over {
            match self.pacer.due(now) {
                Due::Now { planned } => match (self.free.pop(), self.pacer.when_full()) {
                    (Some(slot), _) => {
                        self.pacer.take(planned);
                        self.send(slot, planned, now);
                        // In a burst each send takes time, which makes the next one late.
                        if !self.free.is_empty() {
                            now = self.start.elapsed();
                        }
                    }
                    (None, WhenFull::Drop) => {
                        self.pacer.take(planned);
                        self.recorder.dropped(planned);
                    }
                    (None, WhenFull::Wait) => return,
                },
                Due::At(moment) => {
                    self.next_send = Some(moment);
                    return;
                }
                Due::Over => self.is_over = true,
            }
        }
    }

    fn send(&mut self, slot: u32, planned: Duration, now: Duration) {
        let bytes = &mut self.connections[slot as usize].request;
        let Written { kind, is_head } = self.mix.write(self.number, &mut self.chance, bytes);
        self.number += self.number_step;
        let request = Request { kind, planned, sent: now };
        self.recorder.sent(request);
        self.budget.earn();
        let job = &mut self.jobs[slot as usize];
        *job = Job { request, attempts: 0, is_head, is_resent: false, state: JobState::Running, ..*job };
        self.attempt(slot, now);
    }

    fn attempt(&mut self, slot: u32, now: Duration) {
        let job = &mut self.jobs[slot as usize];
        job.attempts += 1;
        job.state = JobState::Running;
        job.attempted = now;
        job.idle = now.saturating_sub(job.freed);
        self.deadlines.set(slot, now + self.plan.timeout);
        let connection = &mut self.connections[slot as usize];
        let checks = self.plan.requests[job.request.kind].checks.as_slice();
        let step = connection.begin(slot, (job.is_head, checks), &mut self.shared, &mut self.recorder.labels);
        if !matches!(step, Step::Pending) {
            self.conclude(slot, step, now);
        }
    }

    /// Handles an event of a socket.
    fn serve(&mut self, ready: Ready) {
        let slot = ready.token as u32;
        let connection = &mut self.connections[slot as usize];
        if u64::from(connection.generation()) != ready.token >> 32 {
            return;
        }
        let step = connection.on_ready(ready, &mut self.shared, &mut self.recorder.labels);
        if matches!(step, Step::Pending) {
            return;
        }
        let now = self.start.elapsed();
        self.conclude(slot, step, now);
        self.dispatch(now);
    }

    /// A slot's deadline has passed: the time-out of a request, or the end of a pause.
    fn ring(&mut self, slot: u32, now: Duration) {
        match self.jobs[slot as usize].state {
            JobState::None => {}
            JobState::Running => {
                let fault = self.connections[slot as usize].time_out();
                self.conclude(slot, Step::Failed(fault), now);
            }
            JobState::BackingOff => self.attempt(slot, now),
            JobState::Pausing => {
                self.jobs[slot as usize].state = JobState::None;
                self.free.push(slot);
            }
        }
        self.dispatch(now);
    }

    /// An attempt has ended: it is retried or counted.
    fn conclude(&mut self, slot: u32, mut step: Step, now: Duration) {
        self.deadlines.clear(slot);
        self.jobs[slot as usize].freed = now;
        let job = self.jobs[slot as usize];
        if let Step::Failed(fault) = &mut step
            && fault.is_unanswered_reuse
            && is_idle_race(job.idle, now.saturating_sub(job.attempted), self.shared.round_trip)
        {
            if !job.is_resent && is_idempotent(&self.plan.requests[job.request.kind].method) {
                self.shared.traffic.resent += 1;
                let job = &mut self.jobs[slot as usize];
                job.is_resent = true;
                // It is the same attempt.
                job.attempts -= 1;
                self.attempt(slot, now);
                return;
            }
            fault.class = ErrorClass::ResetReused;
        }
        let again = job.attempts < self.plan.retries.attempts
            && match &step {
                Step::Pending => false,
                Step::Answered(answer) => self.retried[usize::from(answer.status)],
                Step::Failed(fault) => is_retried(fault.class),
            }
            && self.budget.take();
        if again {
            self.recorder.retried(job.request);
            self.jobs[slot as usize].state = JobState::BackingOff;
            self.deadlines.set(slot, now + Duration::from_secs_f64(self.plan.retries.backoff_ms / 1_000.0));
            return;
        }
        let refused = match step {
            Step::Pending => return,
            Step::Answered(answer) => {
                self.recorder.answered(job.request, now, &answer);
                false
            }
            Step::Failed(fault) => {
                self.failed(job, fault, now);
                matches!(fault.class, ErrorClass::ConnectRefused | ErrorClass::ConnectFailed | ErrorClass::Local)
            }
        };
        if refused && self.pacer.when_full() == WhenFull::Wait {
            self.jobs[slot as usize].state = JobState::Pausing;
            self.deadlines.set(slot, now + PAUSE_AFTER_REFUSAL);
        } else {
            self.jobs[slot as usize].state = JobState::None;
            self.free.push(slot);
        }
    }

    fn failed(&mut self, job: Job, fault: Fault, now: Duration) {
        if !self.causes.iter().any(|(class, _)| *class == fault.class) {
            self.causes.push((fault.class, fault.cause));
        }
        self.recorder.failed(job.request, now, fault.class);
    }
}
