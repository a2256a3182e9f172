//! One event loop: sends what the pacer says is due, reads what the sockets have, and keeps the books.
//!
//! A round, in the order of time: send all that is due, each request with its own planned time; end what has timed out;
//! hand over a finished slice; sleep until a socket or the next moment; serve the ready sockets. A completed request
//! frees its connection, and what is due is asked again at once. Nothing here allocates once every connection has carried
//! a request, nothing is locked, and the clock is read once per answer.

use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::connection::{Cause, Connection, Fault, Shared, Step, Traffic};
use super::control::{Stopper, Wish};
use super::deadlines::Deadlines;
use super::meter::{Effort, Meter};
use super::poller::{Poller, Ready};
use crate::outcome::ErrorClass;
use crate::pacer::{Due, Pacer, WhenFull};
use crate::plan::{Plan, is_retried};
use crate::record::{Recorder, Slice, Times};
use crate::template::Mix;

/// A user who was refused the connection does not try again at once: without this pause a closed loop would spend the
/// time of an outage spinning, and take the CPU from the server that is to come back.
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_millis(10);
/// Bodies of the stack fit into one read.
const READ_BUFFER: usize = 64 * 1024;

/// What a worker needs to begin.
pub(super) struct Task {
    pub(super) index: usize,
    pub(super) connections: usize,
    pub(super) pacer: Pacer,
    pub(super) mix: Mix,
    pub(super) recorder: Recorder,
    pub(super) address: std::net::SocketAddr,
    pub(super) start: Instant,
    pub(super) stopper: Stopper,
    pub(super) slices: Sender<Delivery>,
}

/// A finished slice on its way to be added to the others.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) worker: usize,
    pub(super) slice: Slice,
    pub(super) is_last: bool,
}

/// What a worker knows at its end beyond its slices.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) traffic: Traffic,
    pub(super) effort: Effort,
    /// When it stopped.
    pub(super) end: Duration,
    /// When its last recorded request ended.
    pub(super) last_end: Duration,
    pub(super) warmup_requests: u64,
    /// The first cause of each class of errors.
    pub(super) causes: Vec<(ErrorClass, Cause)>,
}

pub(super) struct Worker<'a> {
    plan: &'a Plan,
    pacer: Pacer,
    mix: Mix,
    chance: fastrand::Rng,
    connections: Vec<Connection>,
    jobs: Vec<Job>,
    /// Slots without a request; the last one freed is used first, so that the rest may stay unopened.
    free: Vec<u32>,
    deadlines: Deadlines,
    recorder: Recorder,
    shared: Shared,
    /// Which statuses are tried again.
    retried: [bool; 600],
    start: Instant,
    /// Requests begun so far, over all workers without overlap: `{n}`.
    number: u64,
    number_step: u64,
    next_send: Option<Duration>,
    is_over: bool,
    causes: Vec<(ErrorClass, Cause)>,
}

/// The request in a slot.
#[derive(Clone, Copy, Debug)]
struct Job {
    times: Times,
    attempts: u32,
    is_head: bool,
    state: JobState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JobState {
    None,
    Running,
    /// Waiting to be sent again.
    BackingOff,
    /// Ended; the slot rests before its next request.
    Pausing,
}

impl<'a> Worker<'a> {
    pub(super) fn run(task: Task, plan: &'a Plan) -> Result<Ended, Errno> {
        // The plan's choices differ from worker to worker, and are the same in the next run.
        let chance = fastrand::Rng::with_seed(
            plan.seed.wrapping_add(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(task.index as u64 + 1)),
        );
        let job = Job {
            times: Times { planned: Duration::ZERO, sent: Duration::ZERO },
            attempts: 0,
            is_head: false,
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
                address: task.address,
                buffer: vec![0; READ_BUFFER].into_boxed_slice(),
                traffic: Traffic::default(),
            },
            retried: plan.retries.on.table(),
            start: task.start,
            number: task.index as u64,
            number_step: plan.threads as u64,
            next_send: None,
            is_over: false,
            causes: Vec::new(),
        };
        std::thread::sleep(task.start.saturating_duration_since(Instant::now()));
        worker.rounds(task.index, &task.stopper, &task.slices)
    }

    fn rounds(mut self, index: usize, stopper: &Stopper, slices: &Sender<Delivery>) -> Result<Ended, Errno> {
        let mut meter = Meter::new(self.plan.warmup);
        let hand_over = |slice: Slice, is_last| {
            // Nobody listens any more when the run was abandoned; the stopper says so a moment later.
            let _abandoned = slices.send(Delivery { worker: index, slice, is_last });
        };
        loop {
            let now = self.start.elapsed();
            let wish = stopper.wish();
            self.is_over |= wish != Wish::GoOn;
            self.dispatch(now);
            while let Some(slot) = self.deadlines.expired(now) {
                self.ring(slot, now);
            }
            while let Some(slice) = self.recorder.roll(now) {
                hand_over(slice, false);
            }
            if meter.look(now, self.is_over) {
                self.shared.traffic.forget_bytes();
            }
            if wish == Wish::Cancel || (self.is_over && !self.is_busy()) {
                break;
            }
            let wake = [self.next_send, self.deadlines.next()]
                .into_iter()
                .flatten()
                .fold(self.recorder.slice_end(), Duration::min);
            for index in 0..self.shared.poller.wait(now, wake)? {
                self.serve(self.shared.poller.ready(index));
            }
        }
        hand_over(self.recorder.next_slice(), true);
        Ok(Ended {
            traffic: self.shared.traffic,
            effort: meter.effort(),
            end: self.start.elapsed(),
            last_end: self.recorder.last_end,
            warmup_requests: self.recorder.warmup_requests,
            causes: self.causes,
        })
    }

    fn is_busy(&self) -> bool {
        self.jobs.iter().any(|job| matches!(job.state, JobState::Running | JobState::BackingOff))
    }

    /// Sends, or drops, everything that is due.
    fn dispatch(&mut self, now: Duration) {
        self.next_send = None;
        while !self.is_over {
            match self.pacer.due(now) {
                Due::Now { planned } => match (self.free.pop(), self.pacer.when_full()) {
                    (Some(slot), _) => {
                        self.pacer.take(planned);
                        self.send(slot, planned, now);
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
        let request = &mut self.connections[slot as usize].request;
        let is_head = self.mix.write(self.number, &mut self.chance, request);
        self.number += self.number_step;
        let times = Times { planned, sent: now };
        self.recorder.sent(times);
        self.jobs[slot as usize] = Job { times, attempts: 0, is_head, state: JobState::Running };
        self.attempt(slot, now);
    }

    fn attempt(&mut self, slot: u32, now: Duration) {
        let job = &mut self.jobs[slot as usize];
        job.attempts += 1;
        job.state = JobState::Running;
        self.deadlines.set(slot, now + self.plan.timeout);
        let connection = &mut self.connections[slot as usize];
        let step = connection.begin(slot, job.is_head, &mut self.shared, &mut self.recorder.labels);
        if !matches!(step, Step::Pending) {
            self.conclude(slot, step, now);
        }
    }

    /// A socket has something.
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

    /// A slot's deadline has passed: the time-out of a running request, or the end of a pause.
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

    /// An attempt has ended: again, or into the books.
    fn conclude(&mut self, slot: u32, step: Step, now: Duration) {
        self.deadlines.clear(slot);
        let job = self.jobs[slot as usize];
        let again = job.attempts < self.plan.retries.attempts
            && match &step {
                Step::Pending => false,
                Step::Answered(answer) => self.retried[usize::from(answer.status)],
                Step::Failed(fault) => is_retried(fault.class),
            };
        if again {
            self.recorder.retried(job.times);
            self.jobs[slot as usize].state = JobState::BackingOff;
            self.deadlines.set(slot, now + Duration::from_secs_f64(self.plan.retries.backoff_ms / 1_000.0));
            return;
        }
        let refused = match step {
            Step::Pending => return,
            Step::Answered(answer) => {
                self.recorder.answered(job.times, now, &answer);
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
        self.recorder.failed(job.times, now, fault.class);
    }
}
