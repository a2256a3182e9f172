//! The recorder of one worker. Every result is counted in the step in which its request was *planned*, whenever the
//! request ends: a fault that begins in a second shows in that second.
//!
//! A worker keeps a cell for each step with recent results: a few counters and sparse histograms that belong to it
//! alone. Once per step it delivers all of them, to be added to the same steps of [`crate::axis`], and starts with new
//! ones. So the sending thread needs no locks and no sums.
//!
//! Requests that are planned during the warm-up are counted in one number only.

use std::time::Duration;

use crate::http::response::Answer;
use crate::latencies::Latencies;
use crate::outcome::{CacheResult, ErrorClass, Label, Labels};

/// The shortest delay of a late send. It is the accuracy promised for latencies: 1 ms …
pub(crate) const LATE: Duration = Duration::from_millis(1);
/// … or 1 % of the latency, whichever is more.
const LATE_SHARE: u32 = 100;

/// A worker's results of the requests that were planned in one step.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) late: u64,
    pub(crate) distorted: u64,
    pub(crate) retries: u64,
    pub(crate) statuses: Vec<((u16, Label), u64)>,
    pub(crate) errors: [u64; ErrorClass::ALL.len()],
    pub(crate) instances: Vec<(Label, u64)>,
    pub(crate) cache: [u64; CacheResult::ALL.len()],
    /// By kind of request. Grows as needed.
    pub(crate) kinds: Vec<KindCell>,
    /// From the actual send time; open loop only, in a closed loop it is the latency.
    pub(crate) service: Latencies,
    /// The delay between planned and actual send time; open loop only.
    pub(crate) lag: Latencies,
}

#[derive(Debug, Default)]
pub(crate) struct KindCell {
    pub(crate) sent: u64,
    pub(crate) good: Latencies,
    pub(crate) bad: Latencies,
}

impl Cell {
    fn new() -> Self {
        Self {
            sent: 0,
            dropped: 0,
            late: 0,
            distorted: 0,
            retries: 0,
            statuses: Vec::new(),
            errors: [0; _],
            instances: Vec::new(),
            cache: [0; _],
            kinds: Vec::new(),
            service: Latencies::default(),
            lag: Latencies::default(),
        }
    }

    fn kind(&mut self, kind: usize) -> &mut KindCell {
        if self.kinds.len() <= kind {
            self.kinds.resize_with(kind + 1, KindCell::default);
        }
        &mut self.kinds[kind]
    }
}

/// One request that has ended, for a raw record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// The index of its kind in the plan.
    pub kind: usize,
    /// When it was planned, sent and ended, from the end of the warm-up.
    pub planned: Duration,
    pub sent: Duration,
    pub ended: Duration,
    /// How it ended: the status of its answer, or why there was none.
    pub end: Result<u16, ErrorClass>,
    pub is_good: bool,
}

/// What a worker delivers at the end of a step of time.
#[derive(Debug)]
pub(crate) struct Harvest {
    /// Every request that ended in it, if requested.
    pub(crate) raw: Vec<RawRecord>,
    /// The step of time that is over.
    pub(crate) index: u64,
    /// The steps with new results, by the planned time of the requests.
    pub(crate) cells: Vec<(u64, Cell)>,
    pub(crate) in_flight: u64,
    /// What the labels in the cells mean.
    pub(crate) labels: Vec<Box<str>>,
}

/// A request: its kind, and its times so far, counted from the start of the run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) kind: usize,
    /// When it was planned.
    pub(crate) planned: Duration,
    /// When it was sent.
    pub(crate) sent: Duration,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    /// In chronological order; the last one is used most.
    cells: Vec<(u64, Cell)>,
    /// The current step of time, and its end.
    index: u64,
    step_end: Duration,
    interval: Duration,
    warmup: Duration,
    success: [bool; 600],
    is_open_loop: bool,
    in_flight: u64,
    raw: Option<Vec<RawRecord>>,
    pub(crate) labels: Labels,
    /// When the last recorded request was sent, and when the last one ended.
    pub(crate) last_send: Duration,
    pub(crate) last_end: Duration,
    pub(crate) warmup_requests: u64,
}

impl Recorder {
    pub(crate) fn new(warmup: Duration, interval: Duration, success: [bool; 600], is_open_loop: bool) -> Self {
        Self {
            cells: Vec::new(),
            index: 0,
            step_end: warmup + interval,
            interval,
            warmup,
            success,
            is_open_loop,
            in_flight: 0,
            raw: None,
            labels: Labels::default(),
            last_send: warmup,
            last_end: warmup,
            warmup_requests: 0,
        }
    }

    /// Also records each single request.
    pub(crate) fn keeping_raw(mut self, is_kept: bool) -> Self {
        self.raw = is_kept.then(Vec::new);
        self
    }

    /// When the current step of time ends.
    pub(crate) fn step_end(&self) -> Duration {
        self.step_end
    }

    /// Delivers the results of the current step if its time is over. Must be called until it returns `None`.
    pub(crate) fn roll(&mut self, now: Duration) -> Option<Harvest> {
        (now >= self.step_end).then(|| self.harvest())
    }

    /// Ends the current step early, at the end of the run.
    pub(crate) fn harvest(&mut self) -> Harvest {
        let index = self.index;
        self.index += 1;
        self.step_end += self.interval;
        let cells = std::mem::take(&mut self.cells);
        let raw = self.raw.as_mut().map(std::mem::take).unwrap_or_default();
        Harvest { raw, index, cells, in_flight: self.in_flight, labels: self.labels.names().to_vec() }
    }

    /// The cell of a request; `None` during the warm-up.
    fn cell(&mut self, planned: Duration) -> Option<&mut Cell> {
        let since = planned.checked_sub(self.warmup)?;
        let step = (since.as_nanos() / self.interval.as_nanos()) as u64;
        let at = match self.cells.last() {
            Some((last, _)) if *last == step => self.cells.len() - 1,
            _ => match self.cells.binary_search_by_key(&step, |(step, _)| *step) {
                Ok(at) => at,
                Err(at) => {
                    self.cells.insert(at, (step, Cell::new()));
                    at
                }
            },
        };
        self.cells.get_mut(at).map(|(_, cell)| cell)
    }

    pub(crate) fn sent(&mut self, request: Request) {
        let is_open_loop = self.is_open_loop;
        let Some(cell) = self.cell(request.planned) else {
            self.warmup_requests += 1;
            return;
        };
        cell.sent += 1;
        cell.kind(request.kind).sent += 1;
        if is_open_loop {
            let lag = request.sent.saturating_sub(request.planned);
            cell.lag.record(lag);
            cell.late += u64::from(lag > LATE);
        }
        self.in_flight += 1;
        self.last_send = request.sent;
    }

    pub(crate) fn dropped(&mut self, planned: Duration) {
        if let Some(cell) = self.cell(planned) {
            cell.dropped += 1;
        }
    }

    pub(crate) fn retried(&mut self, request: Request) {
        if let Some(cell) = self.cell(request.planned) {
            cell.retries += 1;
        }
    }

    pub(crate) fn answered(&mut self, request: Request, now: Duration, answer: &Answer) {
        let good = self.success[usize::from(answer.status)] && !answer.is_unmet;
        let Some(cell) = self.cell(request.planned) else { return };
        bump(&mut cell.statuses, (answer.status, answer.code));
        if answer.instance != Label::NONE {
            bump(&mut cell.instances, answer.instance);
        }
        if let Some(cache) = answer.cache {
            cell.cache[cache as usize] += 1;
        }
        self.ended(request, now, Ok(answer.status), good);
    }

    pub(crate) fn failed(&mut self, request: Request, now: Duration, class: ErrorClass) {
        let Some(cell) = self.cell(request.planned) else { return };
        cell.errors[class as usize] += 1;
        self.ended(request, now, Err(class), false);
    }

    fn ended(&mut self, request: Request, now: Duration, end: Result<u16, ErrorClass>, good: bool) {
        let is_open_loop = self.is_open_loop;
        let Some(cell) = self.cell(request.planned) else { return };
        let latency = now.saturating_sub(request.planned);
        let kind = cell.kind(request.kind);
        if good { &mut kind.good } else { &mut kind.bad }.record(latency);
        if is_open_loop {
            let lag = request.sent.saturating_sub(request.planned);
            cell.distorted += u64::from(lag > LATE && lag * LATE_SHARE > latency);
            cell.service.record(now.saturating_sub(request.sent));
        }
        self.in_flight -= 1;
        self.last_end = now;
        let Request { kind, planned, sent } = request;
        let since = |moment: Duration| moment.saturating_sub(self.warmup);
        if let Some(raw) = &mut self.raw {
            let (planned, sent, ended) = (since(planned), since(sent), since(now));
            raw.push(RawRecord { kind, planned, sent, ended, end, is_good: good });
        }
    }
}

/// Adds one to a row of a short table. For a handful of keys a linear search is faster than hashing.
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
        Answer { status, keep_alive: true, instance: Label::NONE, cache: None, code: Label::NONE, is_unmet: false }
    }

    fn request(planned: u32, sent: u32) -> Request {
        Request { kind: 0, planned: MS * planned, sent: MS * sent }
    }

    fn recorder() -> Recorder {
        Recorder::new(Duration::ZERO, MS * 100, crate::plan::Statuses::default().table(), true)
    }

    #[test]
    fn what_is_sent_ends_answered_failed_or_in_flight() {
        let mut recorder = recorder();
        for sent in [10, 20, 35, 40] {
            recorder.sent(request(sent - 5, sent));
        }
        recorder.answered(request(5, 10), MS * 50, &answer(200));
        recorder.answered(request(15, 20), MS * 60, &answer(503));
        recorder.failed(request(30, 35), MS * 70, ErrorClass::Timeout);
        recorder.dropped(MS * 80);
        assert!(recorder.roll(MS * 99).is_none());
        let harvest = recorder.roll(MS * 100).unwrap();
        let [(0, cell)] = harvest.cells.as_slice() else { panic!("{harvest:?}") };
        assert_eq!((cell.sent, cell.dropped, harvest.in_flight), (4, 1, 1));
        assert_eq!((cell.late, cell.distorted), (4, 3), "each was sent 5 ms after its time, and three have ended");
        assert_eq!(cell.kinds[0].good.mean(), Some(MS * 45), "from the planned time");
        assert_eq!(cell.kinds[0].bad.count(), 2, "a time-out is among the latencies");
        assert_eq!(cell.service.max(), Some(MS * 40), "from the time it was sent");
        assert_eq!(cell.lag.mean(), Some(MS * 5));
    }

    #[test]
    fn an_end_is_counted_where_its_request_was_planned() {
        let mut recorder = recorder();
        recorder.sent(request(50, 50));
        recorder.sent(Request { kind: 2, ..request(150, 150) });
        assert_eq!(recorder.roll(MS * 200).unwrap().cells.len(), 2);
        recorder.sent(request(250, 250));
        recorder.answered(request(50, 50), MS * 260, &answer(200));
        recorder.failed(Request { kind: 2, ..request(150, 150) }, MS * 260, ErrorClass::Timeout);
        let harvest = recorder.harvest();
        let steps: Vec<u64> = harvest.cells.iter().map(|(step, _)| *step).collect();
        assert_eq!(steps, [0, 1, 2], "in order, whatever came first");
        assert_eq!((harvest.cells[0].1.kinds[0].good.count(), harvest.cells[0].1.sent), (1, 0));
        assert_eq!((harvest.cells[1].1.kinds[2].bad.count(), harvest.in_flight), (1, 1));
    }

    #[test]
    fn the_warm_up_leaves_no_trace() {
        let mut recorder = Recorder::new(MS * 50, MS * 100, [true; 600], false);
        recorder.sent(request(49, 49));
        recorder.retried(request(49, 49));
        recorder.dropped(MS * 49);
        recorder.answered(request(49, 49), MS * 51, &answer(200));
        let harvest = recorder.harvest();
        assert_eq!((harvest.cells.len(), harvest.in_flight, recorder.warmup_requests), (0, 0, 1));
    }
}
