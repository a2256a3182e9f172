//! One worker's books. Kept in slices of the time series: a running slice is a few counters and histograms that belong
//! to the worker alone; when its time is over it is handed away whole and a new one begins, so that nothing has to be
//! locked, scanned or summed where requests are sent.
//!
//! Requests planned during the warm-up are counted in one number and nowhere else.

use std::time::Duration;

use crate::http::response::Answer;
use crate::latencies::Latencies;
use crate::outcome::{CacheResult, ErrorClass, Label, Labels};

/// From this delay on a send counts as late. It is the accuracy promised for latencies.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// What happened in one step of the time series, at one worker.
#[derive(Debug)]
pub(crate) struct Slice {
    pub(crate) index: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) late: u64,
    pub(crate) retries: u64,
    pub(crate) succeeded: u64,
    pub(crate) in_flight: u64,
    pub(crate) statuses: Vec<((u16, Label), u64)>,
    pub(crate) errors: [u64; ErrorClass::ALL.len()],
    pub(crate) instances: Vec<(Label, u64)>,
    pub(crate) cache: [u64; CacheResult::ALL.len()],
    pub(crate) good: Latencies,
    pub(crate) bad: Latencies,
    /// Open loop only; in a closed loop they are the same as the latencies.
    pub(crate) service: Option<Latencies>,
    /// How much later than planned requests were sent; open loop only.
    pub(crate) lag: Option<Latencies>,
    /// What the labels above mean.
    pub(crate) labels: Vec<Box<str>>,
}

impl Slice {
    fn new(index: u64, is_open_loop: bool) -> Self {
        Self {
            index,
            sent: 0,
            dropped: 0,
            late: 0,
            retries: 0,
            succeeded: 0,
            in_flight: 0,
            statuses: Vec::new(),
            errors: [0; _],
            instances: Vec::new(),
            cache: [0; _],
            good: Latencies::new(),
            bad: Latencies::new(),
            service: is_open_loop.then(Latencies::new),
            lag: is_open_loop.then(Latencies::new),
            labels: Vec::new(),
        }
    }
}

/// A request's three moments so far, counted from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it should have been sent.
    pub(crate) planned: Duration,
    /// When it was.
    pub(crate) sent: Duration,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    slice: Slice,
    slice_end: Duration,
    interval: Duration,
    warmup: Duration,
    success: [bool; 600],
    in_flight: u64,
    pub(crate) labels: Labels,
    /// When the last recorded request ended.
    pub(crate) last_end: Duration,
    pub(crate) warmup_requests: u64,
}

impl Recorder {
    pub(crate) fn new(warmup: Duration, interval: Duration, success: [bool; 600], is_open_loop: bool) -> Self {
        Self {
            slice: Slice::new(0, is_open_loop),
            slice_end: warmup + interval,
            interval,
            warmup,
            success,
            in_flight: 0,
            labels: Labels::default(),
            last_end: warmup,
            warmup_requests: 0,
        }
    }

    /// When the running slice ends.
    pub(crate) fn slice_end(&self) -> Duration {
        self.slice_end
    }

    /// Ends the running slice if its time is over, and hands it out. To be called until it returns nothing.
    pub(crate) fn roll(&mut self, now: Duration) -> Option<Slice> {
        (now >= self.slice_end).then(|| self.next_slice())
    }

    /// Ends the running slice before its time, at the end of the run.
    pub(crate) fn next_slice(&mut self) -> Slice {
        let next = Slice::new(self.slice.index + 1, self.slice.lag.is_some());
        let mut slice = std::mem::replace(&mut self.slice, next);
        self.slice_end += self.interval;
        slice.in_flight = self.in_flight;
        slice.labels = self.labels.names().to_vec();
        slice
    }

    fn is_warmup(&self, times: Times) -> bool {
        times.planned < self.warmup
    }

    pub(crate) fn sent(&mut self, times: Times) {
        if self.is_warmup(times) {
            self.warmup_requests += 1;
            return;
        }
        self.in_flight += 1;
        self.slice.sent += 1;
        if let Some(lags) = &mut self.slice.lag {
            let lag = times.sent.saturating_sub(times.planned);
            lags.record(lag);
            self.slice.late += u64::from(lag > LATE);
        }
    }

    pub(crate) fn dropped(&mut self, planned: Duration) {
        if planned >= self.warmup {
            self.slice.dropped += 1;
        }
    }

    pub(crate) fn retried(&mut self, times: Times) {
        if !self.is_warmup(times) {
            self.slice.retries += 1;
        }
    }

    pub(crate) fn answered(&mut self, times: Times, now: Duration, answer: &Answer) {
        if self.is_warmup(times) {
            return;
        }
        let good = self.success[usize::from(answer.status)];
        self.slice.succeeded += u64::from(good);
        bump(&mut self.slice.statuses, (answer.status, answer.code));
        if answer.instance != Label::NONE {
            bump(&mut self.slice.instances, answer.instance);
        }
        if let Some(cache) = answer.cache {
            self.slice.cache[cache as usize] += 1;
        }
        self.ended(times, now, good);
    }

    pub(crate) fn failed(&mut self, times: Times, now: Duration, class: ErrorClass) {
        if self.is_warmup(times) {
            return;
        }
        self.slice.errors[class as usize] += 1;
        self.ended(times, now, false);
    }

    fn ended(&mut self, times: Times, now: Duration, good: bool) {
        let slice = &mut self.slice;
        let latencies = if good { &mut slice.good } else { &mut slice.bad };
        latencies.record(now.saturating_sub(times.planned));
        if let Some(service) = &mut slice.service {
            service.record(now.saturating_sub(times.sent));
        }
        self.in_flight -= 1;
        self.last_end = now;
    }
}

/// Adds one to a row of a short table; comparing a handful of keys in a row beats hashing.
fn bump<K: PartialEq>(table: &mut Vec<(K, u64)>, key: K) {
    match table.iter_mut().find(|(known, _)| *known == key) {
        Some((_, count)) => *count += 1,
        None => table.push((key, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn answer(status: u16) -> Answer {
        Answer { status, keep_alive: true, instance: Label::NONE, cache: None, code: Label::NONE }
    }

    #[test]
    fn what_is_sent_ends_answered_failed_or_in_flight() {
        let mut recorder = Recorder::new(Duration::ZERO, MS * 100, crate::plan::Statuses::default().table(), true);
        let times = |planned: u32, sent: u32| Times { planned: MS * planned, sent: MS * sent };
        for sent in [10, 20, 35, 40] {
            recorder.sent(times(sent - 5, sent));
        }
        recorder.answered(times(5, 10), MS * 50, &answer(200));
        recorder.answered(times(15, 20), MS * 60, &answer(503));
        recorder.failed(times(30, 35), MS * 70, ErrorClass::Timeout);
        recorder.dropped(MS * 80);
        assert!(recorder.roll(MS * 99).is_none());
        let slice = recorder.roll(MS * 100).unwrap();
        assert_eq!((slice.sent, slice.succeeded, slice.dropped, slice.in_flight), (4, 1, 1, 1));
        assert_eq!(slice.late, 4, "each was sent 5 ms after its time");
        assert_eq!(slice.good.mean(), Some(MS * 45), "from the planned time");
        assert_eq!(slice.bad.count(), 2, "a time-out is among the latencies");
        assert_eq!(slice.service.unwrap().max(), Some(MS * 40), "from the time it was sent");
        assert_eq!(slice.lag.unwrap().mean(), Some(MS * 5));
    }

    #[test]
    fn the_warm_up_leaves_no_trace() {
        let mut recorder = Recorder::new(MS * 50, MS * 100, [true; 600], false);
        let warm = Times { planned: MS * 49, sent: MS * 49 };
        recorder.sent(warm);
        recorder.retried(warm);
        recorder.dropped(warm.planned);
        recorder.answered(warm, MS * 51, &answer(200));
        let slice = recorder.next_slice();
        assert_eq!((slice.sent, slice.retries, slice.dropped, slice.in_flight, slice.good.count()), (0, 0, 0, 0, 0));
        assert_eq!(recorder.warmup_requests, 1);
    }
}
