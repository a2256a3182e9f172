//! Entries by id within a memory limit. An entry that may be older than a reported change is not inserted.
//!
//! # In the order of time
//! ## Begin
//! A look-up that finds no entry here takes a [`Ticket`] and goes on to Redis. Each slot of ids gives one ticket at a
//! time: of simultaneous look-ups of one id, only one inserts.
//! ## Void
//! A change of the id voids its ticket, and so does the removal of all entries. A look-up without a ticket that has
//! read a newer entry raises the floor of the ticket: no older entry is inserted after that.
//! ## Insert
//! A valid ticket is used up by its insertion. A ticket that is dropped (its client has disconnected) is given back.
//!
//! Insertion, removal and the check of the ticket hold the slot's lock, so that no other step can come between. A hit
//! takes only the read lock of its shard of the map.

use std::{
    collections::hash_map::RandomState,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use crate::cache::entry::{Entry, Stamp};

/// More than the requests in flight (`CONCURRENCY_LIMIT`), so that two look-ups rarely need the same slot.
const SLOTS: usize = 1024;

/// Shards of the map, each with its own lock. A replica has few threads, so few are enough.
const SHARDS: usize = 4;

/// The memory of an entry besides its bytes: its place in the map, and the header of its allocation.
const OVERHEAD: usize = 256;

/// The largest share of the memory limit for one entry. A larger entry would evict too many others.
const LARGEST_SHARE: u64 = 16;

/// The typical size of an entry. Only used for the initial capacity of the map.
const USUAL_BYTES: u64 = 512;

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct NearMap {
    entries: Cache<i64, Entry, Weigh, RandomState, CountEvicted>,
    slots: Box<[Mutex<Slot>]>,
    largest: u64,
}

/// The look-up that may insert, if there is one.
#[derive(Debug, Default)]
struct Slot {
    tickets: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    number: u64,
    id: i64,
    /// No older entry is inserted.
    floor: Stamp,
}

/// The right to insert the entry of one id, unless the id changes first.
#[derive(Debug)]
pub(in crate::cache) struct Ticket<'a> {
    map: &'a NearMap,
    id: i64,
    number: u64,
}

/// The result of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// The entry is in the map.
    Yes,
    /// The id has changed since the look-up began, or a newer entry was read.
    Overtaken,
    /// The entry is larger than the limit for one entry.
    TooLarge,
}

impl NearMap {
    /// An empty map that takes up to `bytes`. `evicted` counts the entries that the limit evicts.
    pub(super) fn new(bytes: u64, evicted: IntCounter) -> Self {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(usual).weight_capacity(bytes);
        // This fails only without a capacity, and both capacities are given.
        #[expect(clippy::expect_used, reason = "the capacities are set above")]
        let options = options.build().expect("both capacities are given");
        Self {
            entries: Cache::with_options(options, Weigh, RandomState::new(), CountEvicted(evicted)),
            slots: (0..SLOTS).map(|_| Mutex::default()).collect(),
            largest: bytes / LARGEST_SHARE,
        }
    }

    pub(super) fn get(&self, id: i64) -> Option<Entry> {
        self.entries.get(&id)
    }

    /// Gives the slot's ticket, unless another look-up holds it.
    pub(super) fn begin(&self, id: i64) -> Option<Ticket<'_>> {
        let mut slot = self.slot(id);
        if slot.current.is_some() {
            return None;
        }
        slot.tickets += 1;
        let number = slot.tickets;
        slot.current = Some(Current { number, id, floor: Stamp::NONE });
        Some(Ticket { map: self, id, number })
    }

    /// Removes an entry and voids the ticket of its id. Returns whether there was an entry.
    pub(super) fn remove(&self, id: i64) -> bool {
        let mut slot = self.slot(id);
        slot.current.take_if(|current| current.id == id);
        self.entries.remove(&id).is_some()
    }

    /// Removes an entry that is older than `stamp`, and prevents the insertion of older ones. Returns whether an entry
    /// was removed.
    pub(super) fn saw(&self, id: i64, stamp: Stamp) -> bool {
        let mut slot = self.slot(id);
        if let Some(current) = slot.current.as_mut().filter(|current| current.id == id) {
            current.floor = current.floor.max(stamp);
        }
        self.entries.remove_if(&id, |entry| entry.stamp < stamp).is_some()
    }

    /// Voids every ticket and removes every entry. Returns how many entries there were.
    pub(super) fn clear(&self) -> u64 {
        for slot in &self.slots {
            lock(slot).current = None;
        }
        let entries = self.entries.len() as u64;
        self.entries.clear();
        entries
    }

    /// The number of entries, and the bytes that they take.
    pub(super) fn size(&self) -> (usize, u64) {
        (self.entries.len(), self.entries.weight())
    }

    fn slot(&self, id: i64) -> MutexGuard<'_, Slot> {
        lock(&self.slots[id.cast_unsigned() as usize % SLOTS])
    }
}

impl Ticket<'_> {
    /// Inserts the entry that the look-up has found.
    pub(super) fn insert(self, entry: Entry) -> Inserted {
        let Self { map, id, number } = self;
        if weight(&entry) > map.largest {
            return Inserted::TooLarge;
        }
        let mut slot = map.slot(id);
        match slot.current.take_if(|current| current.number == number) {
            Some(current) if current.floor <= entry.stamp => {
                map.entries.insert(id, entry);
                Inserted::Yes
            }
            Some(_) | None => Inserted::Overtaken,
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.map.slot(self.id).current.take_if(|current| current.number == self.number);
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

fn weight(entry: &Entry) -> u64 {
    (entry.encoded().len() + OVERHEAD) as u64
}

#[derive(Debug, Clone)]
struct Weigh;

impl Weighter<i64, Entry> for Weigh {
    fn weight(&self, _id: &i64, entry: &Entry) -> u64 {
        weight(entry)
    }
}

#[derive(Debug, Clone)]
struct CountEvicted(IntCounter);

impl Lifecycle<i64, Entry> for CountEvicted {
    type RequestState = ();

    fn on_evict(&self, (): &mut (), _id: i64, _entry: Entry) {
        self.0.inc();
    }
}

#[cfg(test)]
mod tests;
