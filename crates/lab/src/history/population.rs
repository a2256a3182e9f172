//! The records that all clients share: what one has created another replaces, reads or deletes.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use fastrand::Rng;

use super::{Asked, Call, Item, Outcome};

/// Records that exist from the start and are never deleted. Every client uses them.
pub(super) const HOT: std::ops::RangeInclusive<i64> = 1..=4;
/// The first page shows these: the hot records, and some that no client writes.
pub(super) const FIRST_PAGE: std::ops::RangeInclusive<i64> = 1..=10;
/// If there are more records of the clients' own, some are deleted.
const ENOUGH: usize = 12;
/// How many of the last deleted records, and of the last keys, are used again.
const REMEMBERED: usize = 16;

#[derive(Debug)]
pub(super) struct Population(Mutex<Known>);

#[derive(Debug)]
struct Known {
    living: Vec<i64>,
    gone: VecDeque<i64>,
    keys: VecDeque<(String, String)>,
    versions: BTreeMap<i64, i64>,
    newest: i64,
    touched: BTreeSet<i64>,
}

impl Population {
    /// `newest` is the largest assigned id.
    pub(super) fn new(newest: i64) -> Self {
        Self(Mutex::new(Known {
            living: Vec::new(),
            gone: VecDeque::new(),
            keys: VecDeque::new(),
            versions: BTreeMap::new(),
            newest,
            touched: HOT.collect(),
        }))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A hot record, one of the clients' own, or rarely a deleted one.
    pub(super) fn to_write(&self, rng: &mut Rng) -> i64 {
        let known = self.known();
        match rng.u8(0..100) {
            0..=54 => rng.i64(HOT),
            55..=96 => rng.choice(&known.living).copied().unwrap_or(1),
            _ => rng.choice(&known.gone).copied().unwrap_or(1),
        }
    }

    /// The same, or an id that will be assigned next, which is then cached as missing.
    pub(super) fn to_read(&self, rng: &mut Rng) -> i64 {
        let known = self.known();
        match rng.u8(0..100) {
            0..=44 => rng.i64(HOT),
            45..=69 => rng.choice(&known.living).copied().unwrap_or(1),
            70..=89 => rng.choice(&known.gone).copied().unwrap_or(1),
            _ => known.newest + rng.i64(1..=3),
        }
    }

    /// The clients' own records come after this id.
    pub(super) fn before_living(&self) -> i64 {
        let known = self.known();
        known.living.iter().min().map_or(known.newest, |first| first - 1)
    }

    pub(super) fn version(&self, id: i64) -> Option<i64> {
        self.known().versions.get(&id).copied()
    }

    /// A record to delete, chosen for one client only; `None`: there are too few.
    pub(super) fn take(&self, rng: &mut Rng) -> Option<i64> {
        let mut known = self.known();
        if known.living.len() <= ENOUGH {
            return None;
        }
        let place = rng.usize(0..known.living.len());
        let id = known.living.swap_remove(place);
        known.gone.push_back(id);
        if known.gone.len() > REMEMBERED {
            known.gone.pop_front();
        }
        Some(id)
    }

    /// A key that was sent before, and its value.
    pub(super) fn key(&self, rng: &mut Rng) -> Option<(String, String)> {
        rng.choice(&self.known().keys).cloned()
    }

    pub(super) fn note_key(&self, pair: (String, String)) {
        let mut known = self.known();
        known.keys.push_back(pair);
        if known.keys.len() > REMEMBERED {
            known.keys.pop_front();
        }
    }

    pub(super) fn note(&self, call: &Call) {
        let mut known = self.known();
        for Item { id, version, .. } in call.asked.answered() {
            let newest = known.versions.entry(*id).or_default();
            *newest = (*newest).max(*version);
        }
        let (Asked::Create { answer: Some(item), .. }, Outcome::Ok) = (&call.asked, call.outcome) else { return };
        known.newest = known.newest.max(item.id);
        if known.touched.insert(item.id) {
            known.living.push(item.id);
        }
    }

    /// Every record that a client knows.
    pub(super) fn all(&self) -> BTreeSet<i64> {
        self.known().touched.clone()
    }

    /// The hot records, and up to `most` of the last created ones.
    pub(super) fn to_compare(&self, most: usize) -> Vec<i64> {
        let known = self.known();
        HOT.chain(known.touched.iter().rev().copied().filter(|id| !HOT.contains(id)).take(most)).collect()
    }
}
