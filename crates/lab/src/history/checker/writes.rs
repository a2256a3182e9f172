//! Checks the writes against each other and against the final state.

use std::collections::BTreeMap;

use super::book::{Book, Record, Writer};
use crate::history::{Asked, Item, Outcome, Promise, Violation, call::POSTGRES};

pub(super) fn judge(book: &Book<'_>, violations: &mut Vec<Violation>) {
    for (id, record) in &book.records {
        violations.extend(unknown_values(book, *id, record));
        violations.extend(out_of_order(*id, record));
        violations.extend(after_their_time(book, *id, record));
        violations.extend(written_after_deletion(*id, record));
        violations.extend(lost(*id, record));
    }
    violations.extend(wrong_answers(book));
    violations.extend(double_versions(book));
    violations.extend(created_twice(book));
    violations.extend(created_after_their_time(book));
    violations.extend(differ_in_the_end(book));
}

/// Every value was sent by a client before it was read, and no refused write took effect.
fn unknown_values<'a>(book: &'a Book<'_>, id: i64, record: &'a Record<'_>) -> impl Iterator<Item = Violation> + 'a {
    record.versions.iter().filter_map(move |(version, (value, shown))| {
        if record.acknowledged.get(version).is_some_and(|write| write.call.is_none()) {
            return None;
        }
        let violation = |what: String, calls: &[usize]| {
            let calls = calls.iter().copied().chain(*shown).collect();
            Some(Violation { promise: Promise::AsAnswered, id, what, calls })
        };
        let Some(writer) = book.writers.get(value) else {
            return violation(format!("version {version} of record {id} was never written: {value:?}"), &[]);
        };
        if writer.refused {
            return violation(format!("version {version} of record {id} comes from a refused write"), &writer.calls);
        }
        let elsewhere = writer.calls.iter().any(|place| match &book.call(*place).asked {
            Asked::Replace { id: meant, .. } => *meant != id,
            Asked::Create { .. } | Asked::Read { .. } | Asked::Page { .. } | Asked::Delete { .. } => false,
        });
        if elsewhere {
            return violation(format!("record {id} holds what was written to another one"), &writer.calls);
        }
        if writer.expected.is_some_and(|expected| *version != expected + 1) {
            return violation(format!("a conditional write became version {version} of record {id}"), &writer.calls);
        }
        let early = shown.filter(|place| book.call(*place).end < writer.begin);
        early.and_then(|_| {
            violation(format!("version {version} of record {id} was seen before it was sent"), &writer.calls)
        })
    })
}

/// Of two consecutive writes the second has the larger version.
fn out_of_order(id: i64, record: &Record<'_>) -> Option<Violation> {
    let (older, write) =
        record.acknowledged.iter().find(|(version, write)| record.newest(write.begin.saturating_sub(1)) > **version)?;
    let newest = record.newest(write.begin.saturating_sub(1));
    let before = record.acknowledged.get(&newest)?;
    Some(Violation {
        promise: Promise::NothingLost,
        id,
        what: format!("version {newest} of record {id} was acknowledged, and then version {older} to a later write"),
        calls: before.call.into_iter().chain(write.call).collect(),
    })
}

/// A write takes effect before its limit, and does not replace a later write that was acknowledged.
fn after_their_time<'a>(book: &'a Book<'_>, id: i64, record: &'a Record<'_>) -> impl Iterator<Item = Violation> + 'a {
    let mut latest: Option<(u64, i64)> = None;
    let mut acknowledged = record.acknowledged.iter().peekable();
    record.versions.iter().filter_map(move |(version, (value, shown))| {
        while let Some((older, write)) = acknowledged.next_if(|(older, _)| **older < *version) {
            latest = latest.max(Some((write.begin, *older)));
        }
        let is_late = |writer: &&Writer| !writer.refused && writer.answered.is_none_or(|(.., at, _)| at != *version);
        let writer = book.writers.get(value).filter(is_late)?;
        let (_, overwritten) = latest.filter(|(begin, _)| *begin > writer.limit)?;
        let over = record.acknowledged.get(&overwritten).and_then(|write| write.call);
        Some(Violation {
            promise: Promise::NothingLost,
            id,
            what: format!(
                "a write took effect after its time: as version {version} of record {id}, over the acknowledged {overwritten}"
            ),
            calls: writer.calls.iter().copied().chain(over).chain(*shown).collect(),
        })
    })
}

/// No write changes a record after its deletion was answered.
fn written_after_deletion(id: i64, record: &Record<'_>) -> Option<Violation> {
    let delete = record.deletes.iter().filter(|delete| delete.acknowledged).min_by_key(|delete| delete.end)?;
    let (version, write) = record.acknowledged.iter().find(|(_, write)| write.begin > delete.end)?;
    Some(Violation {
        promise: Promise::GoneStaysGone,
        id,
        what: format!(
            "version {version} of record {id} was acknowledged to a write that began after its deletion was answered"
        ),
        calls: delete.call.into_iter().chain(write.call).collect(),
    })
}

/// The acknowledged writes explain the final state of Postgres.
fn lost(id: i64, record: &Record<'_>) -> Option<Violation> {
    let last = record.last?;
    let (newest, write) = record.acknowledged.last_key_value()?;
    let violation = |promise, what: String, calls: Vec<usize>| Some(Violation { promise, id, what, calls });
    let acknowledged = record.deletes.iter().find(|delete| delete.acknowledged);
    match (last, acknowledged) {
        (Some(item), Some(delete)) => {
            let what = format!("record {id} was deleted, and is there in the end, with version {}", item.version);
            violation(Promise::GoneStaysGone, what, delete.call.into_iter().collect())
        }
        (Some(item), None) if item.version < *newest => {
            let what =
                format!("version {newest} of record {id} was acknowledged, and {} is there in the end", item.version);
            violation(Promise::NothingLost, what, write.call.into_iter().collect())
        }
        (Some(item), None) => {
            let (value, shown) = record.versions.get(&item.version)?;
            let what = format!("version {} of record {id} has another value in the end", item.version);
            if *value == item.value {
                None
            } else {
                violation(Promise::NothingLost, what, shown.iter().copied().collect())
            }
        }
        (None, _) => {
            let until = record.deletes.iter().map(|delete| delete.end).max();
            let kept = record.acknowledged.values().find(|write| until.is_none_or(|until| write.begin > until))?;
            let what = match until {
                None => format!("record {id} is gone, and nobody has deleted it"),
                Some(_) => format!("record {id} is gone, and all its deletes were over before it was last written"),
            };
            let deletes = record.deletes.iter().filter_map(|delete| delete.call);
            violation(Promise::NothingLost, what, deletes.chain(kept.call).collect())
        }
    }
}

/// The answer to a write has the sent value, and the version that its condition allows.
fn wrong_answers<'a>(book: &'a Book<'_>) -> impl Iterator<Item = Violation> + 'a {
    book.history.calls.iter().enumerate().filter_map(|(place, call)| {
        let item = (call.outcome == Outcome::Ok).then(|| call.asked.answered().first()).flatten()?;
        let what = match &call.asked {
            Asked::Create { value, .. } if *value != item.value || item.version != 1 => "a create",
            Asked::Replace { id, .. } if *id != item.id => "a replace of another record",
            Asked::Replace { value, .. } if *value != item.value => "a replace",
            Asked::Replace { expected: Some(expected), .. } if expected + 1 != item.version => "a conditional replace",
            Asked::Create { .. }
            | Asked::Replace { .. }
            | Asked::Read { .. }
            | Asked::Page { .. }
            | Asked::Delete { .. } => {
                return None;
            }
        };
        let what = format!("{what} was answered with version {} of record {}: {:?}", item.version, item.id, item.value);
        Some(Violation { promise: Promise::AsAnswered, id: item.id, what, calls: vec![place] })
    })
}

/// No version was acknowledged to two writers.
fn double_versions(book: &Book<'_>) -> Vec<Violation> {
    let mut first: BTreeMap<(i64, i64), &Writer> = BTreeMap::new();
    let mut found = Vec::new();
    let mut writers: Vec<&Writer> = book.writers.values().collect();
    writers.sort_by_key(|writer| writer.calls.first().copied());
    for writer in writers {
        let Some((id, version, _)) = writer.answered else { continue };
        if let Some(other) = first.insert((id, version), writer) {
            found.push(Violation {
                promise: Promise::NothingLost,
                id,
                what: format!("version {version} of record {id} was acknowledged to two writers"),
                calls: other.calls.iter().chain(&writer.calls).copied().collect(),
            });
        }
    }
    found
}

/// The records in which the value of each POST appeared.
fn created<'a>(book: &'a Book<'_>) -> BTreeMap<usize, (&'a Writer, Vec<i64>)> {
    let mut created: BTreeMap<usize, (&'a Writer, Vec<i64>)> = BTreeMap::new();
    let is_create = |writer: &Writer| {
        writer.calls.first().is_some_and(|place| matches!(book.call(*place).asked, Asked::Create { .. }))
    };
    let mut note = |value: &str, id: i64| {
        let Some(writer) = book.writers.get(value).filter(|writer| is_create(writer)) else { return };
        let Some(first) = writer.calls.first() else { return };
        let (_, ids) = created.entry(*first).or_insert((writer, Vec::new()));
        if !ids.contains(&id) {
            ids.push(id);
        }
    };
    for (id, record) in &book.records {
        record.versions.values().for_each(|(value, _)| note(value, *id));
    }
    created
}

/// One POST, or all POSTs with one key, create one record.
fn created_twice(book: &Book<'_>) -> Vec<Violation> {
    let twice = created(book).into_values().filter(|(_, ids)| ids.len() > 1);
    let violation = |(writer, ids): (&Writer, Vec<i64>)| {
        let shown = ids.iter().filter_map(|id| book.records.get(id)?.versions.get(&1)?.1);
        let mut calls: Vec<usize> = writer.calls.iter().copied().chain(shown).collect();
        calls.sort_unstable();
        calls.dedup();
        Violation {
            promise: Promise::CreatedOnce,
            id: ids[0],
            what: format!("one POST created the records {ids:?}"),
            calls,
        }
    };
    twice.map(violation).collect()
}

/// Ids are assigned in chronological order: a record in doubt has no larger id than one whose POST began after its
/// limit.
fn created_after_their_time(book: &Book<'_>) -> Vec<Violation> {
    let created = created(book);
    let mut by_id: BTreeMap<i64, &Writer> = BTreeMap::new();
    for (writer, ids) in created.values() {
        by_id.extend(ids.iter().map(|id| (*id, *writer)));
    }
    let mut latest: Option<(u64, i64)> = None;
    let mut found = Vec::new();
    for (id, writer) in &by_id {
        let acknowledged = writer.answered.is_some_and(|(answered, ..)| answered == *id);
        if acknowledged {
            // With a key, an earlier attempt may have used the id.
            let begin = if writer.calls.len() == 1 { writer.begin } else { 0 };
            latest = latest.max(Some((begin, *id)));
        } else if writer.answered.is_none()
            && !writer.refused
            && let Some((_, younger)) = latest.filter(|(begin, _)| *begin > writer.limit)
        {
            let other = by_id.get(&younger).and_then(|writer| writer.calls.first().copied());
            found.push(Violation {
                promise: Promise::NothingLost,
                id: *id,
                what: format!("a POST took effect after its time: record {id} is younger than {younger}"),
                calls: writer.calls.iter().copied().chain(other).collect(),
            });
        }
    }
    found
}

/// When all is healthy again, every replica agrees with Postgres.
fn differ_in_the_end<'a>(book: &'a Book<'_>) -> impl Iterator<Item = Violation> + 'a {
    let version = |item: Option<&Item>| item.map(|item| item.version);
    book.history.last.iter().filter(|last| last.at != POSTGRES).filter_map(move |last| {
        if last.silent {
            let what = format!("in the end {} still does not answer for record {}", last.at, last.id);
            return Some(Violation { promise: Promise::Recovers, id: last.id, what, calls: Vec::new() });
        }
        let truth = book.records.get(&last.id)?.last?;
        if version(truth) == version(last.item.as_ref()) {
            return None;
        }
        let what = format!(
            "in the end {} says version {:?} of record {}, and Postgres {:?}",
            last.at,
            version(last.item.as_ref()),
            last.id,
            version(truth)
        );
        let shown = truth.and_then(|item| book.records.get(&last.id)?.versions.get(&item.version)?.1);
        Some(Violation { promise: Promise::FreshReads, id: last.id, what, calls: shown.into_iter().collect() })
    })
}
