//! Entries by id within a limit of bytes. No entry is inserted that may be older than a change reported before.
//!
//! # In the order of time
//! ## Begin
//! A look-up that finds nothing here takes a [`Ticket`] and goes on to Redis. Each slot of ids gives one ticket at a
//! time: of simultaneous look-ups of one id, one inserts.
//! ## Void
//! A change of the id voids its ticket. So does the end of all entries. A look-up without a ticket that has seen a newer
//! entry raises the ticket's floor: an older one is not inserted after it.
//! ## Insert
//! A ticket that is still valid inserts, and is over. A ticket that is dropped (its client has disconnected) is over too.
//!
//! Insertion, removal and the check of the ticket hold the slot's lock, so no entry can be seen between them. A hit takes
//! only the read lock of its part of the map.

use std::{
    collections::hash_map::RandomState,
    sync::{Mutex, MutexGuard, PoisonError},
};

use prometheus::IntCounter;
use quick_cache::{Lifecycle, OptionsBuilder, Weighter, sync::Cache};

use crate::cache::entry::{Entry, Stamp};

/// More than there are requests in flight (`CONCURRENCY_LIMIT`), so that two look-ups rarely need the same one.
const SLOTS: usize = 1024;

/// Parts of the map with a lock of their own; a replica has few threads.
const SHARDS: usize = 4;

/// What an entry takes besides its bytes: its place in the map, and the head of its allocation.
const OVERHEAD: usize = 256;

/// The largest share of the limit for one entry: a larger one would evict too many others.
const LARGEST_SHARE: u64 = 16;

/// Entries are about so large. This only sizes the map's tables.
const USUAL_BYTES: u64 = 512;

/// See the module's documentation.
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
    /// Nothing older is inserted.
    floor: Stamp,
}

/// The right to insert one id, as long as it does not change.
#[derive(Debug)]
pub(in crate::cache) struct Ticket<'a> {
    map: &'a NearMap,
    id: i64,
    number: u64,
}

/// What became of an insertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    /// It is there.
    Yes,
    /// The id has changed since the look-up began, or something newer was seen.
    Overtaken,
    /// It is larger than the limit for one entry.
    TooLarge,
}

impl NearMap {
    /// An empty map that takes up to `bytes`. `evicted` counts what the limit evicts.
    pub(super) fn new(bytes: u64, evicted: IntCounter) -> Self {
        let usual = usize::try_from(bytes / USUAL_BYTES).unwrap_or(usize::MAX);
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).estimated_items_capacity(usual).weight_capacity(bytes);
        // Fails only without a capacity, and both are given.
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

    /// Removes an entry that is older than `stamp`, and lets no older one be inserted. Returns whether one was removed.
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

    /// Entries, and bytes that they take.
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
