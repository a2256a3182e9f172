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
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

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
type Guard<'a, K, V> = MutexGuard<'a, HashMap<K, Slot<V>>>;
type Landed<V> = watch::Receiver<Option<V>>;

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
        let flights = lock(&self.flights);
        // Between two flights the waiting one is about to start.
        match flights.get(&key).and_then(|slot| slot.flying.as_ref().or(slot.waiting.as_ref())) {
            Some(flight) => (Role::Follower, flight.clone()),
            None => (Role::Leader, self.begin(flights, key, fetch)),
        }
    }

    fn join_next<F, Fetch>(&self, key: K, fetch: F) -> (Role, Landed<V>)
    where
        F: FnOnce() -> Fetch + Send + 'static,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        match flights.get_mut(&key) {
            Some(Slot { waiting: Some(next), .. }) => (Role::Follower, next.clone()),
            Some(Slot { flying: Some(present), waiting }) => {
                let (mut flight, landed) = self.flight(key, Stage::Waiting);
                let mut present = present.clone();
                *waiting = Some(landed.clone());
                drop(flights);
                tokio::spawn(async move {
                    // An error means that the running flight was lost; it has ended too.
                    drop(present.wait_for(Option::is_some).await);
                    drop(present);
                    flight.take_off();
                    flight.land(fetch().await);
                });
                (Role::Leader, landed)
            }
            Some(Slot { flying: None, waiting: None }) | None => (Role::Leader, self.begin(flights, key, fetch)),
        }
    }

    /// Starts a flight at once: `key` is free.
    fn begin<F, Fetch>(&self, mut flights: Guard<'_, K, V>, key: K, fetch: F) -> Landed<V>
    where
        F: FnOnce() -> Fetch,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let (flight, landed) = self.flight(key.clone(), Stage::Flying);
        flights.insert(key, Slot { flying: Some(landed.clone()), waiting: None });
        drop(flights);
        let fetch = fetch();
        tokio::spawn(async move { flight.land(fetch.await) });
        landed
    }

    /// The caller holds the lock and stores the receiver in the place that `stage` names.
    fn flight(&self, key: K, stage: Stage) -> (Flight<K, V>, Landed<V>) {
        let (land, landed) = watch::channel(None);
        (Flight { flights: Arc::clone(&self.flights), key, stage, land, value: None }, landed)
    }
}

/// The place of a flight in its slot.
#[derive(Clone, Copy)]
enum Stage {
    Waiting,
    Flying,
}

/// A flight that has its place. Dropping it frees the place and then notifies the waiters, however it ended.
struct Flight<K: Eq + Hash, V> {
    flights: Flights<K, V>,
    key: K,
    stage: Stage,
    land: watch::Sender<Option<V>>,
    value: Option<V>,
}

impl<K: Eq + Hash, V> Flight<K, V> {
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

impl<K: Eq + Hash, V> Drop for Flight<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights);
        if let Some(slot) = flights.get_mut(&self.key) {
            match self.stage {
                Stage::Waiting => slot.waiting = None,
                Stage::Flying => slot.flying = None,
            }
            if slot.waiting.is_none() && slot.flying.is_none() {
                flights.remove(&self.key);
            }
        }
        drop(flights);
        // The key is freed before the result is published, so that a caller that has the result cannot join the old
        // flight. Without a result the sender is dropped after this, which tells the waiters that the flight was lost.
        if let Some(value) = self.value.take() {
            self.land.send_replace(Some(value));
        }
    }
}

async fn result<V: Clone>(mut landed: Landed<V>) -> Result<V, FlightLost> {
    match landed.wait_for(Option::is_some).await {
        Ok(value) => value.clone().ok_or(FlightLost),
        Err(_) => Err(FlightLost),
    }
}

fn lock<K, V>(flights: &Mutex<HashMap<K, Slot<V>>>) -> Guard<'_, K, V> {
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
