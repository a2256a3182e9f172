//! One flight per key: of many who want the same thing at the same time, one fetches it and all get the result.
//!
//! # In the order of time
//! The first to ask for a key starts its flight, as a task of its own: so the flight ends, and every waiter gets its
//! result, also when the one who started it hangs up. Whoever asks while it is under way waits for it. With the result
//! the key is free again; nothing is kept. A flight that panics ends in [`FlightLost`] for all who waited, and the next
//! one to ask starts a new flight.

use std::{
    collections::HashMap,
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

/// Clones share the flights.
pub struct SingleFlight<K, V> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
}

/// How the caller came to its result; for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The caller started the flight.
    Leader,
    /// The caller waited for a flight that was under way.
    Follower,
}

/// The flight ended without a result: it panicked, or the runtime is shutting down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the flight ended without a result")]
pub struct FlightLost;

/// Frees the key when the flight ends, however it ends.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, watch::Receiver<Option<V>>>>>,
    key: K,
}

impl<K, V> SingleFlight<K, V>
where
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flight is under way.
    pub fn new() -> Self {
        Self { flights: Arc::default() }
    }

    /// Whether a flight for `key` is under way.
    pub fn is_flying(&self, key: &K) -> bool {
        lock(&self.flights).contains_key(key)
    }

    /// How many flights are under way.
    pub fn len(&self) -> usize {
        lock(&self.flights).len()
    }

    /// Whether no flight is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The result of the flight for `key`: of the one under way, or of a new one that runs `fetch`.
    ///
    /// # Errors
    /// [`FlightLost`] when the flight panicked.
    pub async fn run<F, Fetch>(&self, key: K, fetch: F) -> (Role, Result<V, FlightLost>)
    where
        F: FnOnce() -> Fetch,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let (role, mut landed) = self.join(key, fetch);
        let result = match landed.wait_for(Option::is_some).await {
            Ok(value) => value.clone().ok_or(FlightLost),
            Err(_) => Err(FlightLost),
        };
        (role, result)
    }

    fn join<F, Fetch>(&self, key: K, fetch: F) -> (Role, watch::Receiver<Option<V>>)
    where
        F: FnOnce() -> Fetch,
        Fetch: Future<Output = V> + Send + 'static,
    {
        let mut flights = lock(&self.flights);
        if let Some(flight) = flights.get(&key) {
            return (Role::Follower, flight.clone());
        }
        let (land, landed) = watch::channel(None);
        flights.insert(key.clone(), landed.clone());
        drop(flights);
        let landing = Landing { flights: Arc::clone(&self.flights), key };
        let fetch = fetch();
        tokio::spawn(async move {
            let value = fetch.await;
            // The key is free before the result is known, so that nobody who has seen it can join the old flight.
            drop(landing);
            land.send_replace(Some(value));
        });
        (Role::Leader, landed)
    }
}

fn lock<K, V>(flights: &Mutex<HashMap<K, V>>) -> MutexGuard<'_, HashMap<K, V>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        lock(&self.flights).remove(&self.key);
    }
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
mod tests {
    use std::{
        sync::atomic::{AtomicU32, Ordering},
        time::Duration,
    };

    use proptest::prelude::*;
    use tokio::task::JoinSet;

    use super::*;

    async fn slow(fetches: Arc<AtomicU32>) -> u32 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        fetches.fetch_add(1, Ordering::SeqCst) + 1
    }

    #[tokio::test(start_paused = true)]
    async fn many_who_ask_at_once_cause_one_fetch() {
        let (flights, fetches) = (SingleFlight::new(), Arc::new(AtomicU32::new(0)));
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let (flights, fetches) = (flights.clone(), Arc::clone(&fetches));
            callers.spawn(async move { flights.run("key", || slow(fetches)).await });
        }
        let results = callers.join_all().await;
        assert_eq!(results.iter().filter(|(role, _)| *role == Role::Leader).count(), 1);
        assert!(results.iter().all(|(_, result)| *result == Ok(1)));
        assert!(flights.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_one_to_ask_fetches_anew() {
        let (flights, fetches) = (SingleFlight::new(), Arc::new(AtomicU32::new(0)));
        for expected in 1..=3 {
            let fetches = Arc::clone(&fetches);
            assert_eq!(flights.run("key", || slow(fetches)).await, (Role::Leader, Ok(expected)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_hangs_up_leaves_the_result_to_the_others() {
        let (flights, fetches) = (SingleFlight::new(), Arc::new(AtomicU32::new(0)));
        let leader = tokio::spawn({
            let (flights, fetches) = (flights.clone(), Arc::clone(&fetches));
            async move { flights.run("key", || slow(fetches)).await }
        });
        while !flights.is_flying(&"key") {
            tokio::task::yield_now().await;
        }
        let follower = tokio::spawn({
            let (flights, fetches) = (flights.clone(), Arc::clone(&fetches));
            async move { flights.run("key", || slow(fetches)).await }
        });
        tokio::task::yield_now().await;
        leader.abort();
        assert_eq!(follower.await.expect("not aborted"), (Role::Follower, Ok(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_panics_is_lost_for_all_and_blocks_nobody() {
        let flights: SingleFlight<&str, u32> = SingleFlight::new();
        let lost = flights.run("key", || async { panic!("the fetch panics on purpose") }).await;
        assert_eq!(lost, (Role::Leader, Err(FlightLost)));
        assert_eq!(flights.run("key", || async { 7 }).await, (Role::Leader, Ok(7)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_waiter_gets_one_result_of_its_own_key(asks in proptest::collection::vec((0u8..4, 0u64..30, any::<bool>()), 1..60)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
            runtime.block_on(async {
                let flights: SingleFlight<u8, u8> = SingleFlight::new();
                let mut callers = Vec::new();
                for (key, start, hangs_up) in asks {
                    let flights = flights.clone();
                    callers.push((key, hangs_up, tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(start)).await;
                        flights.run(key, || async move {
                            tokio::time::sleep(Duration::from_millis(7)).await;
                            key
                        }).await.1
                    })));
                }
                tokio::time::sleep(Duration::from_millis(12)).await;
                for (_, hangs_up, caller) in &callers {
                    if *hangs_up { caller.abort(); }
                }
                for (key, hangs_up, caller) in callers {
                    match caller.await {
                        Ok(result) => assert_eq!(result, Ok(key)),
                        Err(error) => assert!(hangs_up && error.is_cancelled()),
                    }
                }
                // Flights of callers that hung up may still be under way; they end by themselves.
                tokio::time::sleep(Duration::from_millis(50)).await;
                assert!(flights.is_empty());
            });
        }
    }
}
