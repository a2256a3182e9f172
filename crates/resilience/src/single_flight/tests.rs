use std::{
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::Duration,
};

use proptest::prelude::*;
use tokio::{sync::oneshot, task::JoinSet, time::Instant};

use super::*;

async fn slow(fetches: Arc<AtomicU32>) -> u32 {
    tokio::time::sleep(Duration::from_millis(10)).await;
    fetches.fetch_add(1, Ordering::SeqCst) + 1
}

#[tokio::test(start_paused = true)]
async fn many_simultaneous_callers_cause_one_fetch() {
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
async fn the_next_caller_fetches_again() {
    let (flights, fetches) = (SingleFlight::new(), Arc::new(AtomicU32::new(0)));
    for expected in 1..=3 {
        let fetches = Arc::clone(&fetches);
        assert_eq!(flights.run("key", || slow(fetches)).await, (Role::Leader, Ok(expected)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_leaves_the_result_to_the_others() {
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
async fn a_flight_that_panics_is_lost_for_all_and_blocks_no_caller() {
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
            // Flights of cancelled callers may still be running; they end by themselves.
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert!(flights.is_empty());
        });
    }
}

/// A flight of `run` for `key` that lands when the returned sender fires.
async fn held(flights: &SingleFlight<&'static str, u32>, value: u32) -> oneshot::Sender<()> {
    let (land, landing) = oneshot::channel::<()>();
    let task = flights.clone();
    tokio::spawn(async move {
        task.run("key", || async move {
            landing.await.expect("the test lands the flight");
            value
        })
        .await
    });
    while !flights.is_flying(&"key") {
        tokio::task::yield_now().await;
    }
    land
}

/// Lets every task that can run do so.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_must_not_see_an_earlier_read_share_the_next_flight() {
    let flights = SingleFlight::new();
    let land = held(&flights, 1).await;
    let fetches = Arc::new(AtomicU32::new(1));
    let mut callers = JoinSet::new();
    for _ in 0..100 {
        let (flights, fetches) = (flights.clone(), Arc::clone(&fetches));
        callers.spawn(async move { flights.run_next("key", || slow(fetches)).await });
    }
    settle().await;
    assert_eq!((fetches.load(Ordering::SeqCst), flights.len()), (1, 1), "no flight starts before the running one ends");
    let joined = tokio::spawn({
        let flights = flights.clone();
        async move { flights.run("key", || async { unreachable!("a flight is running") }).await }
    });
    settle().await;
    land.send(()).expect("it waits");
    assert_eq!(joined.await.expect("no panic"), (Role::Follower, Ok(1)));
    let results = callers.join_all().await;
    assert_eq!(results.iter().filter(|(role, _)| *role == Role::Leader).count(), 1);
    assert!(results.iter().all(|(_, result)| *result == Ok(2)));
    assert!(flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_free_key_is_fetched_at_once_in_both_modes() {
    let flights = SingleFlight::new();
    assert_eq!(flights.run_next("key", || async { 1 }).await, (Role::Leader, Ok(1)));
    assert_eq!(flights.run("key", || async { 2 }).await, (Role::Leader, Ok(2)));
    assert!(flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_running_flight_that_panics_lets_the_waiting_one_start() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let land = held(&flights, 1).await;
    let next = tokio::spawn({
        let flights = flights.clone();
        async move { flights.run_next("key", || async { 2 }).await }
    });
    settle().await;
    drop(land);
    assert_eq!(next.await.expect("no panic"), (Role::Leader, Ok(2)));
    assert!(flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_flight_that_panics_is_lost_only_for_the_callers_that_share_it() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let land = held(&flights, 1).await;
    let mut lost = JoinSet::new();
    for _ in 0..3 {
        let flights = flights.clone();
        lost.spawn(async move { flights.run_next("key", || async { panic!("the fetch panics on purpose") }).await.1 });
    }
    settle().await;
    land.send(()).expect("it waits");
    assert_eq!(lost.join_all().await, [Err(FlightLost); 3]);
    assert!(flights.is_empty());
    assert_eq!(flights.run_next("key", || async { 7 }).await, (Role::Leader, Ok(7)));
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_panics_before_it_returns_its_future_frees_the_key_too() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let land = held(&flights, 1).await;
    let lost = tokio::spawn({
        let flights = flights.clone();
        let fetch = || -> std::future::Ready<u32> { panic!("the fetch panics on purpose") };
        async move { flights.run_next("key", fetch).await.1 }
    });
    settle().await;
    land.send(()).expect("it waits");
    assert_eq!(lost.await.expect("not in the caller"), Err(FlightLost));
    assert!(flights.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_leader_of_a_waiting_flight_leaves_it_to_the_others() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let land = held(&flights, 1).await;
    let next = |value| {
        let flights = flights.clone();
        tokio::spawn(async move { flights.run_next("key", move || async move { value }).await })
    };
    let leader = next(2);
    settle().await;
    let follower = next(3);
    settle().await;
    leader.abort();
    land.send(()).expect("it waits");
    assert_eq!(follower.await.expect("not aborted"), (Role::Follower, Ok(2)));
    assert!(flights.is_empty());
}

#[test]
fn a_runtime_that_shuts_down_loses_the_flights_and_frees_their_keys() {
    let flights: SingleFlight<&str, u32> = SingleFlight::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    let (one, two) = (flights.clone(), flights.clone());
    runtime.spawn(async move { one.run("key", std::future::pending).await });
    runtime.spawn(async move { two.run_next("key", std::future::pending).await });
    let is_waiting = || lock(&flights.flights).get("key").is_some_and(|slot| slot.waiting.is_some());
    runtime.block_on(async {
        while !is_waiting() {
            tokio::task::yield_now().await;
        }
    });
    drop(runtime);
    assert!(flights.is_empty());
}

const LONGEST_FETCH: Duration = Duration::from_millis(12);

/// One caller of the property below.
#[derive(Debug, Clone)]
struct Ask {
    key: u8,
    start_ms: u64,
    fetch_ms: u64,
    /// The caller may join a running flight.
    joins: bool,
    panics: bool,
    hangs_up_ms: Option<u64>,
}

fn ask() -> impl Strategy<Value = Ask> {
    let hangs_up = proptest::option::weighted(0.2, 0u64..20);
    (0u8..3, 0u64..60, 0u64..=12, proptest::bool::weighted(0.25), proptest::bool::weighted(0.1), hangs_up).prop_map(
        |(key, start_ms, fetch_ms, joins, panics, hangs_up_ms)| Ask {
            key,
            start_ms,
            fetch_ms,
            joins,
            panics,
            hangs_up_ms,
        },
    )
}

/// Records of the fetches of a test.
#[derive(Default)]
struct Fetches {
    begun: AtomicU32,
    running: [AtomicBool; 3],
    overlapped: AtomicBool,
}

/// A running fetch of a key; dropping it ends it.
struct Running(Arc<Fetches>, usize);

impl Running {
    /// The number of the fetch is the number of fetches that started before it.
    fn begin(fetches: &Arc<Fetches>, key: u8) -> (Self, u32) {
        let key = usize::from(key);
        if fetches.running[key].swap(true, Ordering::SeqCst) {
            fetches.overlapped.store(true, Ordering::SeqCst);
        }
        (Self(Arc::clone(fetches), key), fetches.begun.fetch_add(1, Ordering::SeqCst))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running[self.1].store(false, Ordering::SeqCst);
    }
}

async fn asks(ask: Ask, flights: SingleFlight<u8, (u8, u32)>, fetches: Arc<Fetches>) {
    tokio::time::sleep(Duration::from_millis(ask.start_ms)).await;
    let (key, called, begun_before) = (ask.key, Instant::now(), fetches.begun.load(Ordering::SeqCst));
    let fetch = move || {
        let (running, number) = Running::begin(&fetches, key);
        async move {
            tokio::time::sleep(Duration::from_millis(ask.fetch_ms)).await;
            assert!(!ask.panics, "the fetch panics on purpose");
            drop(running);
            (key, number)
        }
    };
    let patience = Duration::from_millis(ask.hangs_up_ms.unwrap_or(60_000));
    let answer = tokio::time::timeout(patience, async {
        if ask.joins { flights.run(key, fetch).await.1 } else { flights.run_next(key, fetch).await.1 }
    });
    let answer = answer.await;
    assert!(answer.is_ok() || ask.hangs_up_ms.is_some(), "every caller gets an answer");
    // The running flight and the next one.
    assert!(called.elapsed() <= 2 * LONGEST_FETCH, "more than two flights have passed");
    if let Ok(Ok((of, number))) = answer {
        assert_eq!(of, key);
        assert!(ask.joins || number >= begun_before, "the answer was read before the call");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn no_caller_of_the_next_flight_is_answered_from_an_earlier_one(plan in proptest::collection::vec(ask(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        runtime.block_on(async {
            let (flights, fetches) = (SingleFlight::new(), Arc::<Fetches>::default());
            let callers: Vec<_> = plan.into_iter().map(|ask| {
                tokio::spawn(asks(ask, flights.clone(), Arc::clone(&fetches)))
            }).collect();
            for caller in callers { caller.await.expect("no assertion fails"); }
            // Flights of cancelled callers may still be running; they end by themselves.
            tokio::time::sleep(2 * LONGEST_FETCH).await;
            assert!(flights.is_empty());
            assert!(!fetches.overlapped.load(Ordering::SeqCst), "two fetches of one key overlapped");
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_with_many_threads() {
    let (flights, fetches) = (SingleFlight::new(), Arc::<Fetches>::default());
    let mut callers = JoinSet::new();
    for number in 0..4_000u32 {
        let (flights, fetches) = (flights.clone(), Arc::clone(&fetches));
        callers.spawn(async move {
            let key = (number % 3) as u8;
            let begun_before = fetches.begun.load(Ordering::SeqCst);
            let fetch = move || async move {
                let (running, number) = Running::begin(&fetches, key);
                tokio::task::yield_now().await;
                drop(running);
                number
            };
            let (_, result) = flights.run_next(key, fetch).await;
            assert!(result.expect("no flight panics") >= begun_before, "the answer was read before the call");
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.expect("no assertion fails");
    }
    assert!(flights.is_empty());
    assert!(!fetches.overlapped.load(Ordering::SeqCst), "two fetches of one key overlapped");
}
