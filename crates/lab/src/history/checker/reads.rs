//! Checks every answer to a read against earlier writes and against what its reader has received before.

use std::collections::{BTreeMap, HashMap};

use super::book::{Book, Record, Write};
use crate::history::{Asked, Call, Item, Outcome, Promise, Verdict, Violation};

/// What one answer says about one record.
#[derive(Clone, Copy)]
struct Sight<'a> {
    place: usize,
    call: &'a Call,
    id: i64,
    item: Option<&'a Item>,
    stale: bool,
    promise: Promise,
}

/// Versions that one reader has seen of one record, on a page or by itself, each with the call that showed it first; the
/// last one is "deleted".
type Seen = BTreeMap<(i64, Shown), usize>;

/// Which of the two caches an answer may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    ByItself,
    OnPage,
}

/// Newer than every version.
const DELETED: i64 = i64::MAX;

impl Sight<'_> {
    fn shown(&self) -> Shown {
        if self.promise == Promise::FreshPages { Shown::OnPage } else { Shown::ByItself }
    }
}

pub(super) struct Reads<'a> {
    book: &'a Book<'a>,
    seen: HashMap<(u32, i64), Seen>,
    /// The versions of a record that one replica has returned, which its near cache must not take back.
    seen_at: HashMap<(u32, i64, &'a str), Seen>,
}

impl<'a> Reads<'a> {
    pub(super) fn new(book: &'a Book<'a>) -> Self {
        Self { book, seen: HashMap::new(), seen_at: HashMap::new() }
    }

    pub(super) fn judge(mut self, verdict: &mut Verdict) {
        let calls = &self.book.history.calls;
        let mut order: Vec<usize> = (0..calls.len()).filter(|place| calls[*place].asked.is_read()).collect();
        order.sort_by_key(|place| calls[*place].begin);
        for place in order {
            let call = &calls[place];
            if call.outcome != Outcome::Ok {
                continue;
            }
            verdict.reads += 1;
            if is_old_page(call) {
                let is_in_peace = !self.book.is_broken(call.begin, call.end);
                let has_waited = call.end.saturating_sub(call.begin) >= SHORTEST_WAIT_US;
                verdict.old_in_peace += usize::from(is_in_peace);
                if !is_in_peace || has_waited {
                    continue;
                }
            }
            verdict.near += usize::from(call.is_near());
            let mut strict = true;
            for sight in self.sights(place, call) {
                strict &= !self.allows_old(&sight);
                if let Some(old_us) = self.old_for(&sight) {
                    verdict.near_old += 1;
                    verdict.near_oldest_us = verdict.near_oldest_us.max(old_us);
                }
                let violation = self.sound(&sight).or_else(|| self.fresh(&sight)).or_else(|| self.forward(&sight));
                verdict.violations.extend(violation);
            }
            verdict.strict += usize::from(strict);
        }
    }

    /// What a call says of the records that it is about. A page says of each in its stretch whether it is there.
    fn sights(&self, place: usize, call: &'a Call) -> Vec<Sight<'a>> {
        match &call.asked {
            Asked::Read { id, answer, stale } => {
                let item = answer.as_ref();
                vec![Sight { place, call, id: *id, item, stale: *stale, promise: Promise::FreshReads }]
            }
            Asked::Page { after, upto, items, stale } => {
                let sight = |id, item| Sight { place, call, id, item, stale: *stale, promise: Promise::FreshPages };
                let shown: BTreeMap<i64, &Item> = items.iter().map(|item| (item.id, item)).collect();
                let last = upto.unwrap_or(i64::MAX);
                if *after >= last {
                    return Vec::new();
                }
                let stretch = self.book.records.range(after + 1..=last);
                let known = stretch.map(|(id, _)| sight(*id, shown.get(id).copied()));
                known.collect()
            }
            Asked::Create { .. } | Asked::Replace { .. } | Asked::Delete { .. } => Vec::new(),
        }
    }

    /// Whether the newest write before the read may still be invisible to it.
    fn allows_old(&self, sight: &Sight<'_>) -> bool {
        let Some(record) = self.book.records.get(&sight.id) else { return false };
        let newest = record.acknowledged.get(&record.newest(sight.call.begin));
        newest.is_some_and(|write| self.may_miss(sight, *write))
    }

    /// When a read counts as begun with regard to a write.
    fn as_of(&self, sight: &Sight<'_>, write: Write) -> u64 {
        let writer = write.call.and_then(|place| self.book.call(place).instance.as_ref());
        let is_of_another = writer.is_none() || writer != sight.call.instance.as_ref();
        let near = if sight.call.is_near() && is_of_another { self.book.history.head.near_us } else { 0 };
        sight.call.begin.saturating_sub(near)
    }

    /// Whether an answer may be older than a write that had ended when the read began, or that its reader has received.
    fn may_miss(&self, sight: &Sight<'_>, write: Write) -> bool {
        let at = self.as_of(sight, write);
        sight.call.is_near() && write.end > at || self.book.may_miss(write, at, sight.stale)
    }

    /// How long an answer of a near cache had been out of date when it was requested.
    fn old_for(&self, sight: &Sight<'_>) -> Option<u64> {
        let record = self.book.records.get(&sight.id).filter(|_| sight.call.is_near())?;
        let version = sight.item?.version;
        let newer = record.acknowledged.range(version + 1..).map(|(_, write)| write.end);
        sight.call.begin.checked_sub(newer.min()?)
    }

    /// The answer is about the requested record, and a client has written its value.
    fn sound(&self, sight: &Sight<'a>) -> Option<Violation> {
        let item = sight.item?;
        let violation = |what: String, calls: &[usize]| {
            let calls = std::iter::once(sight.place).chain(calls.iter().copied()).collect();
            Some(Violation { promise: Promise::AsAnswered, id: sight.id, what, calls })
        };
        if item.id != sight.id {
            return violation(format!("record {} was asked for, and record {} came", sight.id, item.id), &[]);
        }
        let (value, shown) = self.book.records.get(&item.id)?.versions.get(&item.version)?;
        if *value != item.value {
            let what = format!("version {} of record {} has two values", item.version, item.id);
            return violation(what, shown.as_slice());
        }
        None
    }

    /// Every write that was acknowledged before is visible.
    fn fresh(&self, sight: &Sight<'a>) -> Option<Violation> {
        let record = self.book.records.get(&sight.id)?;
        let at = sight.call.begin;
        let violation = |promise, what: String, write: Write| {
            let calls = write.call.into_iter().chain([sight.place]).collect();
            Some(Violation { promise, id: sight.id, what, calls })
        };
        let missed = |write: &Write| write.end <= at && !self.may_miss(sight, *write);
        let id = sight.id;
        let version = match sight.item {
            Some(item) => {
                if let Some(delete) = record.deletes.iter().find(|delete| delete.acknowledged && missed(delete)) {
                    let what = format!("record {id} was read {} after its deletion was answered", since(*delete, at));
                    return violation(Promise::GoneStaysGone, what, *delete);
                }
                item.version
            }
            None if record.may_be_deleted(sight.call.end) => return self.explain_absence(sight, record),
            None => 0,
        };
        if record.newest(at) > version
            && let Some((newer, write)) = record.acknowledged.range(version + 1..).find(|(_, write)| missed(write))
        {
            let what = format!(
                "record {id} was read as {}, {} after version {newer} was acknowledged",
                said(version),
                since(*write, at)
            );
            return violation(sight.promise, what, *write);
        }
        self.late(sight, record, version)
    }

    /// A write in doubt becomes visible after its limit, and was not visible to this read.
    fn late(&self, sight: &Sight<'a>, record: &Record<'_>, version: i64) -> Option<Violation> {
        if sight.stale {
            return None;
        }
        let bound = self.book.history.head.bound_us;
        let is_late = |write: &Write| write.end.saturating_add(bound) < self.as_of(sight, *write);
        let (newer, write) =
            record.in_doubt.iter().copied().find(|(newer, write)| *newer > version && is_late(write))?;
        let what = format!(
            "version {newer} of record {} took effect after its time: {} later version {version} was read",
            sight.id,
            since(write, sight.call.begin)
        );
        let shown = record.versions.get(&newer).and_then(|(_, shown)| *shown);
        let calls = write.call.into_iter().chain([sight.place]).chain(shown).collect();
        Some(Violation { promise: Promise::NothingLost, id: sight.id, what, calls })
    }

    /// "There is no such record", and there are deletes: one of them must have come after every acknowledged write.
    fn explain_absence(&self, sight: &Sight<'a>, record: &Record<'_>) -> Option<Violation> {
        let until =
            record.deletes.iter().filter(|delete| delete.begin <= sight.call.end).map(|delete| delete.end).max()?;
        let is_before = |write: &Write| write.end <= self.as_of(sight, *write);
        let kept = record.acknowledged.values().find(|write| is_before(write) && write.begin > until)?;
        let what = format!("record {} is gone, and all its deletes were over before it was last written", sight.id);
        let deletes = record.deletes.iter().filter_map(|delete| delete.call);
        let calls = deletes.chain(kept.call).chain([sight.place]).collect();
        Some(Violation { promise: Promise::NothingLost, id: sight.id, what, calls })
    }

    /// The reader has not received a newer version before.
    fn forward(&mut self, sight: &Sight<'a>) -> Option<Violation> {
        let record = self.book.records.get(&sight.id)?;
        let version = match sight.item {
            Some(item) => item.version,
            // A page cannot say why a record is not on it.
            None if sight.promise == Promise::FreshPages => return None,
            None if record.may_be_deleted(sight.call.end) => DELETED,
            None => 0,
        };
        let client = sight.call.client;
        // An answer of a near cache may take back what another replica has returned, but not what its own replica has
        // returned.
        let here = sight.call.instance.as_deref().filter(|_| sight.promise == Promise::FreshReads);
        let here = here.map(|instance| (client, sight.id, instance));
        let seen = self.seen.get(&(client, sight.id));
        let seen_here = here.and_then(|here| self.seen_at.get(&here)).filter(|_| sight.call.is_near());
        let strictly = |write| self.book.may_miss(write, sight.call.begin, sight.stale);
        let newer =
            seen.and_then(|seen| self.taken_back(sight, record, version, seen, |write| self.may_miss(sight, write)));
        let newer = newer.or_else(|| self.taken_back(sight, record, version, seen_here?, strictly));
        let violation = newer.map(|(newer, place)| Violation {
            promise: Promise::ForwardReads,
            id: sight.id,
            what: format!("a reader saw record {} as {}, and then as {}", sight.id, said(newer), said(version)),
            calls: self
                .book
                .write_of(sight.id, newer)
                .and_then(|write| write.call)
                .into_iter()
                .chain([place, sight.place])
                .collect(),
        });
        let shown = (version, sight.shown());
        self.seen.entry((client, sight.id)).or_default().entry(shown).or_insert(sight.place);
        if let Some(here) = here {
            self.seen_at.entry(here).or_default().entry(shown).or_insert(sight.place);
        }
        violation
    }

    /// A version that was received, is newer than this one, and must be visible to this read; and the call that
    /// returned it.
    fn taken_back(
        &self,
        sight: &Sight<'a>,
        record: &Record<'_>,
        version: i64,
        seen: &Seen,
        may_miss: impl Fn(Write) -> bool,
    ) -> Option<(i64, usize)> {
        let excused = |newer: i64, shown: Shown| {
            // A write that is not over: one of the two caches may know it before the other.
            let is_half_known = |write: Write| shown != sight.shown() && self.book.answered(write) > sight.call.begin;
            // Of a POST in doubt nobody knows the id: what says that there is no such record ends by itself.
            let is_hidden = |write: Write| {
                version == 0 && !write.acknowledged && sight.call.begin <= write.end.saturating_add(LONGEST_MISSING_US)
            };
            let may_miss = |write: Write| may_miss(write) || is_half_known(write) || is_hidden(write);
            match newer {
                DELETED => record
                    .deletes
                    .iter()
                    .filter(|delete| delete.begin <= sight.call.end)
                    .any(|delete| may_miss(*delete)),
                _ => self.book.write_of(sight.id, newer).is_none_or(may_miss),
            }
        };
        let mut newer = seen.range((version.saturating_add(1), Shown::ByItself)..);
        let newer = newer.find(|((newer, shown), _)| *newer > version && !excused(*newer, *shown));
        newer.map(|((newer, _), place)| (*newer, *place))
    }
}

/// `CACHE_MISSING`, 2 s by default, and what a busy machine may add.
const LONGEST_MISSING_US: u64 = 2_700_000;

/// A replica waits so long for a connection to Postgres, by default, and longer for an answer.
const SHORTEST_WAIT_US: u64 = 100_000;

/// A page that says that it is old is from before the last write: what is left when Postgres does not answer a replica.
fn is_old_page(call: &Call) -> bool {
    match call.asked {
        Asked::Page { stale, .. } => stale,
        Asked::Read { .. } | Asked::Create { .. } | Asked::Replace { .. } | Asked::Delete { .. } => false,
    }
}

fn said(version: i64) -> String {
    match version {
        0 => "not there yet".to_owned(),
        DELETED => "deleted".to_owned(),
        version => format!("version {version}"),
    }
}

/// The time since a write's end, in words.
fn since(write: Write, at: u64) -> String {
    format!("{} ms", at.saturating_sub(write.end) / 1_000)
}
