//! Histories of a store that keeps every promise. Calls take effect one after the other, between their begin and their
//! end (in doubt: their limit). A cache in front of it misses the writes made while Redis is unavailable.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

use super::{MS, head};
use crate::history::{Asked, Broken, Call, History, Item, Last, Outcome};

const CLIENTS: u32 = 5;
const STEPS: usize = 250;
const HOT: i64 = 3;
/// Redis is unavailable, and everything is down, for half a second of every two and a half.
const PERIOD: u64 = 2_500 * MS;
const AWAY: u64 = 500 * MS;

struct Model {
    rng: Rng,
    history: History,
    /// The time at which calls take effect now.
    now: u64,
    /// The end of each client's last call.
    free: BTreeMap<u32, u64>,
    records: BTreeMap<i64, Vec<Version>>,
    keys: BTreeMap<String, Item>,
    next_id: i64,
    next_value: u64,
}

/// A version of a record, or its deletion.
#[derive(Clone)]
struct Version {
    item: Option<Item>,
    /// The latest time at which its write was acknowledged; `None`: never.
    acknowledged: Option<u64>,
    missed: bool,
}

/// A correct history.
pub(super) fn correct(seed: u64) -> History {
    let mut model = Model {
        rng: Rng::with_seed(seed),
        history: History::new(head()),
        now: 100 * MS,
        free: BTreeMap::new(),
        records: BTreeMap::new(),
        keys: BTreeMap::new(),
        next_id: 100,
        next_value: 0,
    };
    for id in 1..=HOT {
        let item = Item { id, version: 1, value: format!("initial {id}") };
        model.history.initial.push(item.clone());
        model.records.insert(id, vec![Version { item: Some(item), acknowledged: Some(0), missed: false }]);
    }
    for _ in 0..STEPS {
        model.step();
    }
    model.end()
}

impl Model {
    fn step(&mut self) {
        self.now += self.rng.u64(1..20) * MS;
        let client = self.rng.u32(0..CLIENTS);
        let begin = self.free.get(&client).copied().unwrap_or(0).max(self.now.saturating_sub(self.rng.u64(0..8) * MS));
        if begin > self.now {
            return;
        }
        let end = self.now + self.rng.u64(0..8) * MS;
        self.free.insert(client, end + 1);
        match self.rng.u8(0..10) {
            0..=3 => self.read(client, begin, end),
            4 => self.page(client, begin, end),
            5 | 6 => self.replace(client, begin, end),
            7 => self.delete(client, begin, end),
            _ => self.create(client, begin, end),
        }
    }

    fn call(&mut self, client: u32, (begin, end): (u64, u64), outcome: Outcome, asked: Asked) {
        let via = "nginx".to_owned();
        self.history.calls.push(Call {
            client,
            via,
            asked,
            begin,
            end,
            outcome,
            status: 0,
            instance: None,
            note: None,
        });
    }

    /// What a read that began at `begin` returns: the current state, or the state that a missed write left in the
    /// cache.
    fn seen(&mut self, id: i64, begin: u64) -> Option<Item> {
        let versions = self.records.get(&id)?;
        let mut place = versions.len() - 1;
        while place > 0 && versions[place].missed && self.rng.bool() {
            let over = versions[place].acknowledged.is_none_or(|end| begin > end + head().bound_us);
            if over {
                break;
            }
            place -= 1;
        }
        // No read goes back: `missed` is per write, and a page ends all.
        versions[place].item.clone()
    }

    fn read(&mut self, client: u32, begin: u64, end: u64) {
        let known: Vec<i64> = self.records.keys().copied().collect();
        let id = known[self.rng.usize(0..known.len())];
        let answer = self.seen(id, begin);
        self.call(client, (begin, end), Outcome::Ok, Asked::Read { id, answer, stale: false });
    }

    fn page(&mut self, client: u32, begin: u64, end: u64) {
        let after = if self.rng.bool() { 0 } else { 99 };
        let present = |versions: &Vec<Version>| versions.last().and_then(|version| version.item.clone());
        let mut items: Vec<Item> =
            self.records.range(after + 1..).filter_map(|(_, versions)| present(versions)).collect();
        let limit = self.rng.usize(1..6);
        let upto = (items.len() > limit).then(|| items[limit - 1].id);
        items.truncate(limit);
        self.call(client, (begin, end), Outcome::Ok, Asked::Page { after, upto, items, stale: false });
    }

    fn value(&mut self) -> String {
        self.next_value += 1;
        format!("value {}", self.next_value)
    }

    /// How a write ends: acknowledged, or in doubt and applied or not.
    fn fate(&mut self) -> (Outcome, bool) {
        match self.rng.u8(0..10) {
            0 => (Outcome::Doubt, true),
            1 => (Outcome::Doubt, false),
            _ => (Outcome::Ok, true),
        }
    }

    fn push(&mut self, id: i64, item: Option<Item>, (begin, end): (u64, u64), outcome: Outcome) {
        let acknowledged = (outcome == Outcome::Ok).then_some(end);
        let until = if acknowledged.is_some() { end } else { end.max(begin + head().window_us) };
        let period = |at: u64| at - at % PERIOD;
        let away = [period(begin), period(until)];
        let missed = acknowledged.is_some() && away.iter().any(|from| begin <= from + AWAY && *from <= until);
        self.records.entry(id).or_default().push(Version { item, acknowledged, missed });
    }

    fn replace(&mut self, client: u32, begin: u64, end: u64) {
        let known: Vec<i64> = self.records.keys().copied().collect();
        let id = known[self.rng.usize(0..known.len())];
        let value = self.value();
        let present = self.records[&id].last().and_then(|version| version.item.clone());
        let expected = self
            .rng
            .bool()
            .then(|| present.as_ref().map_or(1, |item| item.version - i64::from(self.rng.u8(0..4) == 0)));
        let Some(old) = present.filter(|item| expected.is_none_or(|expected| expected == item.version)) else {
            let asked = Asked::Replace { id, expected, value, answer: None };
            return self.call(client, (begin, end), Outcome::Refused, asked);
        };
        let (outcome, done) = self.fate();
        // nginx may have sent it twice.
        let twice = done && expected.is_none() && self.rng.u8(0..8) == 0;
        let item = Item { id, version: old.version + 1 + i64::from(twice), value: value.clone() };
        if twice {
            let copy = Item { version: old.version + 1, ..item.clone() };
            self.push(id, Some(copy), (begin, end), outcome);
        }
        if done {
            self.push(id, Some(item.clone()), (begin, end), outcome);
        }
        let answer = (outcome == Outcome::Ok).then_some(item);
        self.call(client, (begin, end), outcome, Asked::Replace { id, expected, value, answer });
    }

    fn delete(&mut self, client: u32, begin: u64, end: u64) {
        let ours: Vec<i64> = self.records.keys().copied().filter(|id| *id > HOT).collect();
        if ours.is_empty() {
            return;
        }
        let id = ours[self.rng.usize(0..ours.len())];
        let (outcome, done) = self.fate();
        // Also for a record that was deleted before: the cache is updated again.
        if done {
            self.push(id, None, (begin, end), outcome);
        }
        self.call(client, (begin, end), outcome, Asked::Delete { id, expected: None });
    }

    fn create(&mut self, client: u32, begin: u64, end: u64) {
        let repeated = if self.rng.bool() { self.keys.iter().next_back() } else { None };
        if let Some((key, item)) = repeated.map(|(key, item)| (key.clone(), item.clone())) {
            let asked = Asked::Create { key: Some(key), value: item.value.clone(), answer: Some(item) };
            return self.call(client, (begin, end), Outcome::Ok, asked);
        }
        let value = self.value();
        let key = self.rng.bool().then(|| format!("key {value:0>20}"));
        let (outcome, done) = self.fate();
        let item = Item { id: self.next_id, version: 1, value: value.clone() };
        if done {
            self.next_id += 1;
            self.push(item.id, Some(item.clone()), (begin, end), outcome);
        }
        let answer = (outcome == Outcome::Ok).then(|| item.clone());
        if let (Some(key), Outcome::Ok) = (&key, outcome) {
            self.keys.insert(key.clone(), item);
        }
        self.call(client, (begin, end), outcome, Asked::Create { key, value, answer });
    }

    fn end(mut self) -> History {
        let seen: BTreeSet<i64> = self.records.keys().copied().collect();
        for id in seen {
            let item = self.records[&id].last().and_then(|version| version.item.clone());
            for at in ["postgres", "api-1"] {
                self.history.last.push(Last { at: at.to_owned(), id, item: item.clone(), silent: false });
            }
        }
        let mut from = 0;
        while from <= self.now + PERIOD {
            let what = "redis is away".to_owned();
            self.history.broken.push(Broken {
                what,
                from,
                to: from + AWAY,
                repaired: from + AWAY + 5_000 * MS,
                redis: true,
                ended: false,
                late_only: false,
            });
            from += PERIOD;
        }
        self.history.calls.sort_by_key(|call| call.end);
        self.history.complete = true;
        self.history
    }
}
