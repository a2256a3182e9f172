//! Percentiles compared with a known distribution. The tests here run one after the other, because they measure time.

#![expect(clippy::unwrap_used, reason = "what helps a test may panic like the test")]

#[path = "support/server.rs"]
#[expect(dead_code, reason = "the tests of the counts need more of it")]
mod server;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use loadgen::{Arrivals, Curve, Ids, LatencyStats, Load, Pick, Plan, Report};
use server::{OK, Server};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Runs a load, and returns the longest time for which the machine did not schedule a runnable thread: no program can
/// be more punctual than that. On an idle machine it is a fraction of a millisecond.
fn run(plan: Plan) -> (Report, f64) {
    let address = plan.target.reach(Duration::from_secs(5)).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = is_over.clone();
    let noise = std::thread::spawn(move || {
        let nap = Duration::from_millis(1);
        let mut worst = Duration::ZERO;
        while !watched.load(Ordering::Relaxed) {
            let begin = Instant::now();
            std::thread::sleep(nap);
            worst = worst.max(begin.elapsed() - nap);
        }
        worst.as_secs_f64() * 1_000.0
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let report = runtime.block_on(loadgen::start(plan, address).unwrap().report()).unwrap();
    is_over.store(true, Ordering::Relaxed);
    (report, noise.join().unwrap())
}

fn open(url: &str, rate: f64, seconds: u64, arrivals: Arrivals) -> Plan {
    let curve = Curve::constant(rate, Duration::from_secs(seconds)).unwrap();
    Plan::get(url, Load::Open { curve, arrivals, requests: None }).unwrap()
}

/// Within 1 ms or 1 %, plus the delay of the machine.
fn assert_true(what: &str, measured: f64, truth: f64, noise: f64) {
    let tolerance = f64::max(1.0, truth / 100.0) + noise;
    let error = measured - truth;
    assert!(error.abs() <= tolerance, "{what}: measured {measured} ms, true are {truth} ms, noise {noise} ms");
}

fn all(report: &Report) -> &LatencyStats {
    report.latency.all.as_ref().unwrap()
}

/// Delays from 50 to 450 ms, of which the server takes the exact time itself.
#[test]
fn a_known_distribution_of_delays_is_measured_as_it_is() {
    let _alone = alone();
    let truth = Arc::new(Mutex::new(Vec::new()));
    let log = truth.clone();
    let server = Server::start(move |mut peer| {
        let log = log.clone();
        async move {
            while let Some(head) = peer.request().await {
                let arrived = Instant::now();
                let millis = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                tokio::time::sleep(Duration::from_millis(millis)).await;
                log.lock().unwrap().push(arrived.elapsed().as_secs_f64() * 1_000.0);
                peer.send(OK).await;
            }
        }
    });
    let mut plan = open(&server.url("/{id}"), 200.0, 5, Arrivals::Poisson);
    plan.variables = vec![("id".to_owned(), Ids::new(50..=450, Pick::Uniform, 1.0).unwrap())];
    let (report, noise) = run(plan);
    let mut truth = truth.lock().unwrap().clone();
    truth.sort_by(f64::total_cmp);
    assert_eq!(truth.len() as u64, report.summary.succeeded);
    let at = |quantile: f64| truth[(quantile * truth.len() as f64).ceil() as usize - 1];
    let stats = all(&report);
    assert_true("p50", stats.p50_ms, at(0.50), noise);
    assert_true("p90", stats.p90_ms, at(0.90), noise);
    assert_true("p95", stats.p95_ms, at(0.95), noise);
    assert_true("p99", stats.p99_ms, at(0.99), noise);
    assert_true("mean", stats.mean_ms, truth.iter().sum::<f64>() / truth.len() as f64, noise);
}

/// When each request was answered, by its number in the run, according to the server.
type Log = Arc<Mutex<Vec<(u64, Instant)>>>;

/// Answers at once, but does nothing at all for a second, half a second after its first request. The specification's "1 s
/// every 5 s" in a shorter run, and with a larger share of stalled time.
fn stalling() -> (Server, Log) {
    let log = Log::default();
    let written = log.clone();
    let is_first = Arc::new(AtomicBool::new(true));
    let server = Server::start(move |mut peer| {
        let (written, is_first) = (written.clone(), is_first.clone());
        async move {
            while let Some(head) = peer.request().await {
                if is_first.swap(false, Ordering::Relaxed) {
                    tokio::task::spawn_local(async {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        // The server has only this thread, so nothing else happens during the sleep.
                        std::thread::sleep(Duration::from_secs(1));
                    });
                }
                let number = head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
                if !peer.send(OK).await {
                    return;
                }
                written.lock().unwrap().push((number, Instant::now()));
            }
        }
    });
    (server, log)
}

#[test]
fn an_open_loop_sees_a_stall_as_users_do_and_a_closed_loop_does_not() {
    let _alone = alone();
    let rate = 200.0;
    let (server, log) = stalling();
    let (report, noise) = run(open(&server.url("/{n}"), rate, 4, Arrivals::Even));
    let log = log.lock().unwrap().clone();
    assert_eq!((log.len(), report.summary.succeeded), (800, 800));
    // Request n was planned n/rate after a start that lies just before the earliest answer allows.
    let planned = |n: u64| Duration::from_secs_f64(n as f64 / rate);
    let start = log.iter().map(|(n, at)| *at - planned(*n)).min().unwrap();
    let mut truth: Vec<f64> = log.iter().map(|(n, at)| (*at - start - planned(*n)).as_secs_f64() * 1_000.0).collect();
    truth.sort_by(f64::total_cmp);
    let at = |quantile: f64| truth[(quantile * truth.len() as f64).ceil() as usize - 1];
    let stats = all(&report);
    for (quantile, measured) in [(0.5, stats.p50_ms), (0.9, stats.p90_ms), (0.95, stats.p95_ms), (0.99, stats.p99_ms)] {
        assert_true(&format!("quantile {quantile}"), measured, at(quantile), noise);
    }
    assert_true("max", stats.max_ms, at(1.0), noise);
    assert!(stats.p90_ms > 500.0, "a quarter of all users waited: {}", stats.p90_ms);

    let (server, _) = stalling();
    let load = Load::Closed { requests: None, duration: Some(Duration::from_secs(4)) };
    let (closed, _) = run(Plan::get(&server.url("/{n}"), load).unwrap());
    let stats = all(&closed);
    assert!(stats.max_ms > 900.0, "the stall was there: {}", stats.max_ms);
    assert!(stats.p99_ms < 100.0, "and hardly anybody saw it, since nobody was sent: {}", stats.p99_ms);
}
