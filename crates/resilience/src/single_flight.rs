//! One flight per key: of many simultaneous callers for the same key, one fetches the value and all get the result.
//!
//! # In the order of time
//! ## Flying
//! The first call for a key starts its flight in a task of its own, so that the flight ends, and every waiter gets the
//! result, even if the first caller is cancelled. A call of [`SingleFlight::run`] during the flight waits for it.
//! ## Waiting
//! A call of [`SingleFlight::run_next`] must not get a value that was read before the call, so it does not join a
//! running flight. The first such call becomes the leader of the next flight. All such calls before that flight begins
//! share it. It also has its own task, and begins when the current flight has ended for any reason. So a key has at
//! most one running and one waiting flight, and a call waits for at most two flights.
//! ## Landed
//! When the result is available, the key is free again; nothing is stored. A flight that panics ends in [`FlightLost`]
//! for all callers that waited for it, and for no others.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::SetOnce;

/// Clones share the flights.
pub struct SingleFlight<K, V> {
    flights: Flights<K, V>,
}

/// How the caller got its result; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The caller's `fetch` is used.
    Leader,
    /// The caller waited for the flight of another caller.
    Follower,
}

/// The flight ended without a result: it panicked, or the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the flight ended without a result")]
pub struct FlightLost;

type Flights<K, V> = Arc<Mutex<HashMap<K, Slot<V>>>>;
/// The result of a flight, or `None` when the flight was lost; empty until it has ended.
type Landed<V> = Arc<SetOnce<Option<V>>>;

/// The flights of one key. A slot is in the map as long as it has a flight; between the end of one flight and the start
/// of the next it has only the waiting one.
struct Slot<V> {
    flying: Option<Landed<V>>,
    waiting: Option<Landed<V>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Creates a group without flights.
    pub fn new() -> Self {
        Self { flights: Arc::default() }
    }

    /// Whether a flight for `key` is running.
    pub fn is_flying(&self, key: &K) -> bool {
        lock(&self.flights).contains_key(key)
    }

    /// The number of running flights; waiting ones are not counted.
    pub fn len(&self) -> usize {
        lock(&self.flights).len()
    }

    /// Whether no flight is running.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The result of the flight for `key`: of the running one, or of a new one that runs `fetch`.
    ///
    /// # Errors
    /// [`FlightLost`] when the flight panicked.
    pub async fn run<F, Fetch>(&self, key: K, fetch: F) -> (Role, Result<V, FlightLost>)
    where
        F: FnOnce() -> Fetch,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let (role, landed) = self.join(key, fetch);
        (role, result(landed).await)
    }

    /// The result of a flight for `key` that starts after this call: of a new one that runs `fetch`, or of the one that
    /// waits for the end of the running flight. A `fetch` must not call this for its own key: it would wait for its own
    /// end.
    ///
    /// # Errors
    /// [`FlightLost`] when the flight panicked.
    pub async fn run_next<F, Fetch>(&self, key: K, fetch: F) -> (Role, Result<V, FlightLost>)
    where
        F: FnOnce() -> Fetch + Send + 'static,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let (role, landed) = self.join_next(key, fetch);
        (role, result(landed).await)
    }

    fn join<F, Fetch>(&self, key: K, fetch: F) -> (Role, Landed<V>)
    where
        F: FnOnce() -> Fetch,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        let entry = flights.entry(key);
        if let Entry::Occupied(slot) = &entry
            && let Some(flight) = slot.get().current()
        {
            return (Role::Follower, Arc::clone(flight));
        }
        let (flight, landed) = self.take_place(entry);
        drop(flights);
        launch(flight, fetch());
        (Role::Leader, landed)
    }

    fn join_next<F, Fetch>(&self, key: K, fetch: F) -> (Role, Landed<V>)
    where
        F: FnOnce() -> Fetch + Send + 'static,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        let mut entry = flights.entry(key.clone());
        if let Entry::Occupied(slot) = &mut entry {
            match slot.get_mut() {
                Slot { waiting: Some(next), .. } => return (Role::Follower, Arc::clone(next)),
                Slot { flying: Some(present), waiting } => {
                    let (mut flight, landed) = self.flight(key, Stage::Waiting);
                    let present = Arc::clone(present);
                    *waiting = Some(Arc::clone(&landed));
                    drop(flights);
                    tokio::spawn(async move {
                        // A running flight that is lost has ended too.
                        present.wait().await;
                        drop(present);
                        flight.take_off();
                        flight.land(fetch().await);
                    });
                    return (Role::Leader, landed);
                }
                Slot { flying: None, waiting: None } => {}
            }
        }
        let (flight, landed) = self.take_place(entry);
        drop(flights);
        launch(flight, fetch());
        (Role::Leader, landed)
    }

    /// The flight that runs in this place, which is free.
    fn take_place(&self, entry: Entry<'_, K, Slot<V>>) -> (Flight<K, V>, Landed<V>) {
        let (flight, landed) = self.flight(entry.key().clone(), Stage::Flying);
        entry.insert_entry(Slot { flying: Some(Arc::clone(&landed)), waiting: None });
        (flight, landed)
    }

    /// The caller holds the lock and stores the result in the place that `stage` names.
    fn flight(&self, key: K, stage: Stage) -> (Flight<K, V>, Landed<V>) {
        let landed = Landed::default();
        (Flight { flights: Arc::clone(&self.flights), key, stage, land: Arc::clone(&landed), value: None }, landed)
    }
}

/// Runs a flight in a task of its own. The box is moved instead of the future: a task is moved several times.
fn launch<K, V>(flight: Flight<K, V>, fetch: impl Future<Output = V> + Send + 'static)
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Send + Sync + 'static,
{
    let fetch = Box::pin(fetch);
    tokio::spawn(async move { flight.land(fetch.await) });
}

impl<V> Slot<V> {
    /// The flight that a call joins. Between two flights the waiting one is about to start.
    fn current(&self) -> Option<&Landed<V>> {
        self.flying.as_ref().or(self.waiting.as_ref())
    }
}

/// The place of a flight in its slot.
#[derive(Clone, Copy)]
enum Stage {
    Waiting,
    Flying,
}

/// A flight that has its place. Dropping it frees the place and then notifies the waiters, however it ended.
struct Flight<K: Eq + Hash + Clone, V> {
    flights: Flights<K, V>,
    key: K,
    stage: Stage,
    land: Landed<V>,
    value: Option<V>,
}

impl<K: Eq + Hash + Clone, V> Flight<K, V> {
    /// From waiting to running: from now on no caller of `run_next` joins it.
    fn take_off(&mut self) {
        if let Some(slot) = lock(&self.flights).get_mut(&self.key) {
            slot.flying = slot.waiting.take();
        }
        self.stage = Stage::Flying;
    }

    /// Ends the flight with a result.
    fn land(mut self, value: V) {
        self.value = Some(value);
    }
}

impl<K: Eq + Hash + Clone, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights);
        if let Entry::Occupied(mut entry) = flights.entry(self.key.clone()) {
            let slot = entry.get_mut();
            match self.stage {
                Stage::Waiting => slot.waiting = None,
                Stage::Flying => slot.flying = None,
            }
            if slot.current().is_none() {
                entry.remove();
            }
        }
        drop(flights);
        // The key is freed before the result is published, so that a caller that has the result cannot join the old
        // flight. Only this flight sets its result, so it is not set yet.
        drop(self.land.set(self.value.take()));
    }
}

async fn result<V: Clone>(landed: Landed<V>) -> Result<V, FlightLost> {
    landed.wait().await.clone().ok_or(FlightLost)
}

fn lock<K, V>(flights: &Mutex<HashMap<K, Slot<V>>>) -> MutexGuard<'_, HashMap<K, Slot<V>>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self { flights: Arc::clone(&self.flights) }
    }
}

impl<K, V> Default for SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
