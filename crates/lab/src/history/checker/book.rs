//! An index of every write, by record and version, and by value.

use std::collections::{BTreeMap, HashMap};

use super::windows::{Window, Windows};
use crate::history::{Asked, Broken, Call, History, Item, Outcome, call::POSTGRES};

/// The index over a history.
pub(super) struct Book<'a> {
    pub(super) history: &'a History,
    pub(super) records: BTreeMap<i64, Record<'a>>,
    /// The writer of a value. Several attempts with one `Idempotency-Key` are one writer.
    pub(super) writers: HashMap<&'a str, Writer>,
    /// Times in which Redis was unavailable to some replica.
    redis: Windows,
    /// Times in which anything was broken.
    broken: Windows,
    /// Nobody may have told Redis of a write in doubt.
    doubt: Windows,
    /// A replica ended.
    ended: Windows,
}

/// What is known about one record.
#[derive(Default)]
pub(super) struct Record<'a> {
    /// Versions that were acknowledged to their writer.
    pub(super) acknowledged: BTreeMap<i64, Write>,
    /// Their ends in order, each with the largest version acknowledged until then.
    newest: Vec<(u64, i64)>,
    /// Versions with their value and the call that returned it first.
    pub(super) versions: BTreeMap<i64, (&'a str, Option<usize>)>,
    /// Versions that were read and not acknowledged, each with the time in which it may have been written.
    pub(super) in_doubt: Vec<(i64, Write)>,
    /// Deletes that were not refused.
    pub(super) deletes: Vec<Write>,
    /// What Postgres holds in the end; the outer `None`: unknown.
    pub(super) last: Option<Option<&'a Item>>,
    /// Whether it existed before the first call.
    pub(super) is_initial: bool,
}

/// The time in which a write may have taken effect.
#[derive(Debug, Clone, Copy)]
pub(super) struct Write {
    /// Its call; `None`: the state before the first call.
    pub(super) call: Option<usize>,
    pub(super) begin: u64,
    /// Its end, or the limit of a write in doubt.
    pub(super) end: u64,
    pub(super) acknowledged: bool,
}

/// The attempts to write one value.
#[derive(Debug, Clone, Default)]
pub(super) struct Writer {
    pub(super) calls: Vec<usize>,
    pub(super) begin: u64,
    /// After this time it can no longer take effect.
    pub(super) limit: u64,
    /// All attempts were refused.
    pub(super) refused: bool,
    /// The first acknowledgement: record, version and its end.
    pub(super) answered: Option<(i64, i64, u64)>,
    /// `If-Match`.
    pub(super) expected: Option<i64>,
}

impl<'a> Book<'a> {
    pub(super) fn new(history: &'a History) -> Self {
        let stretch = |broken: &Broken| Window { from: broken.from, to: broken.to, repaired: broken.repaired };
        let mut book = Self {
            history,
            records: BTreeMap::new(),
            writers: HashMap::new(),
            redis: Windows::new(history.broken.iter().filter(|broken| broken.redis).map(stretch)),
            broken: Windows::new(history.broken.iter().map(stretch)),
            doubt: Windows::new(history.broken.iter().filter(|broken| !broken.late_only).map(stretch)),
            ended: Windows::new(history.broken.iter().filter(|broken| broken.ended).map(stretch)),
        };
        for item in &history.initial {
            let record = book.records.entry(item.id).or_default();
            record.is_initial = true;
            record.acknowledged.insert(item.version, Write { call: None, begin: 0, end: 0, acknowledged: true });
            record.versions.insert(item.version, (&item.value, None));
        }
        for (place, call) in history.calls.iter().enumerate() {
            book.note_writer(place, call);
            book.note_delete(place, call);
            for item in call.asked.answered() {
                book.records
                    .entry(item.id)
                    .or_default()
                    .versions
                    .entry(item.version)
                    .or_insert((&item.value, Some(place)));
            }
        }
        book.note_acknowledged();
        for last in history.last.iter().filter(|last| last.at == POSTGRES) {
            let record = book.records.entry(last.id).or_default();
            record.last = Some(last.item.as_ref());
            if let Some(item) = &last.item {
                record.versions.entry(item.version).or_insert((&item.value, None));
            }
        }
        let in_doubt: Vec<_> = book.in_doubt().collect();
        for (record, in_doubt) in book.records.values_mut().zip(in_doubt) {
            record.in_doubt = in_doubt;
            record.sort();
        }
        book
    }

    fn in_doubt(&self) -> impl Iterator<Item = Vec<(i64, Write)>> {
        self.records.iter().map(|(id, record)| {
            let unknown = record.versions.keys().filter(|version| !record.acknowledged.contains_key(version));
            unknown.filter_map(|version| Some((*version, self.write_of(*id, *version)?))).collect()
        })
    }

    fn note_writer(&mut self, place: usize, call: &'a Call) {
        let Some(value) = call.asked.value() else { return };
        let limit = self.limit(call);
        let writer =
            self.writers.entry(value).or_insert_with(|| Writer { begin: u64::MAX, refused: true, ..Writer::default() });
        writer.calls.push(place);
        writer.begin = writer.begin.min(call.begin);
        if call.outcome != Outcome::Refused {
            writer.refused = false;
            writer.limit = writer.limit.max(limit);
        }
        if let Asked::Replace { expected, .. } = &call.asked {
            writer.expected = *expected;
        }
        if let (Outcome::Ok, Some(item)) = (call.outcome, call.asked.answered().first())
            && writer.answered.is_none_or(|(.., end)| call.end < end)
        {
            writer.answered = Some((item.id, item.version, call.end));
        }
    }

    fn note_delete(&mut self, place: usize, call: &Call) {
        let Asked::Delete { id, .. } = call.asked else { return };
        if call.outcome == Outcome::Refused {
            return;
        }
        let (end, acknowledged) = (self.limit(call), call.outcome == Outcome::Ok);
        let delete = Write { call: Some(place), begin: call.begin, end, acknowledged };
        self.records.entry(id).or_default().deletes.push(delete);
    }

    fn note_acknowledged(&mut self) {
        for writer in self.writers.values() {
            let Some((id, version, end)) = writer.answered else { continue };
            let place = writer.calls.iter().copied().find(|place| {
                let call = &self.history.calls[*place];
                call.end == end && call.outcome == Outcome::Ok
            });
            let write = Write { call: place, begin: writer.begin, end, acknowledged: true };
            // `writes` reports two with the same version; the one that ended first counts here.
            let known = self.records.entry(id).or_default().acknowledged.entry(version).or_insert(write);
            if write.end < known.end {
                *known = write;
            }
        }
    }

    /// When a sent write can no longer take effect.
    fn limit(&self, call: &Call) -> u64 {
        match call.outcome {
            Outcome::Ok | Outcome::Refused => call.end,
            Outcome::Doubt => call.end.max(call.begin.saturating_add(self.history.head.window_us)),
        }
    }

    pub(super) fn call(&self, place: usize) -> &'a Call {
        &self.history.calls[place]
    }

    /// When a write was answered. A replica that answers "in doubt" has told Redis of the doubt before.
    pub(super) fn answered(&self, write: Write) -> u64 {
        let call = write.call.map(|place| self.call(place));
        let by_replica =
            call.filter(|call| call.status != 0 && call.instance.as_deref().is_some_and(|name| name != "nginx"));
        by_replica.map_or(write.end, |call| call.end)
    }

    /// When this version of a record was written, as far as is known.
    pub(super) fn write_of(&self, id: i64, version: i64) -> Option<Write> {
        let record = self.records.get(&id)?;
        if let Some(write) = record.acknowledged.get(&version) {
            return Some(*write);
        }
        // A refused write has no time at which it may take effect; a violation is reported elsewhere.
        let writer = self.writers.get(record.versions.get(&version)?.0).filter(|writer| !writer.refused)?;
        let call = writer.calls.first().copied();
        Some(Write { call, begin: writer.begin, end: writer.limit, acknowledged: false })
    }

    /// Whether anything was broken at some time in this interval.
    pub(super) fn is_broken(&self, from: u64, to: u64) -> bool {
        self.broken.meet(from, to).is_some()
    }

    /// Whether a read that began `at` may be older than `write`.
    pub(super) fn may_miss(&self, write: Write, at: u64, stale: bool) -> bool {
        let bound = write.end.saturating_add(self.history.head.bound_us);
        // Of a write in doubt nobody may be left who knows that the cache must hear of it.
        let unheard = if write.acknowledged { &self.redis } else { &self.doubt };
        let Some(window) = unheard.meet(write.begin, write.end) else { return false };
        let is_forgotten = !write.acknowledged || self.ended.meet(write.begin, window.repaired).is_some();
        at <= match (is_forgotten, stale) {
            (true, true) => u64::MAX,
            (true, false) => bound,
            (false, true) => window.repaired,
            (false, false) => window.repaired.min(bound),
        }
    }
}

impl Record<'_> {
    fn sort(&mut self) {
        let mut ends: Vec<(u64, i64)> =
            self.acknowledged.iter().map(|(version, write)| (write.end, *version)).collect();
        ends.sort_unstable();
        let mut newest = 0;
        for (_, version) in &mut ends {
            newest = newest.max(*version);
            *version = newest;
        }
        self.newest = ends;
    }

    /// The newest version acknowledged until `at`; 0 if there is none.
    pub(super) fn newest(&self, at: u64) -> i64 {
        let after = self.newest.partition_point(|(end, _)| *end <= at);
        after.checked_sub(1).map_or(0, |last| self.newest[last].1)
    }

    /// Whether "there is no such record", answered at `end`, can mean that it was deleted.
    pub(super) fn may_be_deleted(&self, end: u64) -> bool {
        let exists = matches!(self.last, Some(Some(_)));
        !exists && self.deletes.iter().any(|delete| delete.begin <= end)
    }
}
