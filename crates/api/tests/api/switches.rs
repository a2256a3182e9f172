//! Each switch removes exactly its mechanism. `CACHE`, `CONCURRENCY_LIMIT` and `MAX_RPS` are in `caching` and `limits`.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::{
    http::{create, get, get_until, metric},
    proxy::{Mode, Proxy},
    replica::{PATIENT, Replica},
};

#[tokio::test]
async fn without_timeouts_a_request_waits_for_a_silent_postgres() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("TIMEOUTS", "off"), ("CACHE", "off")]);
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
    postgres.set(Mode::Silent);
    let waiting = tokio::time::timeout(Duration::from_secs(2), get(&replica.url("/data/1"))).await;
    assert!(waiting.is_err(), "no answer, seven deadlines later: {waiting:?}");
}

#[tokio::test]
async fn without_breakers_every_request_finds_out_for_itself() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("BREAKERS", "off"), ("CACHE", "off")]);
    postgres.set(Mode::Silent);
    for _ in 0..8 {
        let start = Instant::now();
        let answer = get(&replica.url("/data/1")).await;
        assert_eq!(answer.status.as_u16(), 503);
        assert!(start.elapsed() >= Duration::from_millis(90), "it waited for its time-out: {:?}", start.elapsed());
    }
    let series = "dependency_request_duration_seconds_count{dependency=\"postgres\",outcome=\"breaker_open\"}";
    assert_eq!(metric(&replica.url(""), series).await as u32, 0);
}

#[tokio::test]
async fn single_flight_makes_one_read_of_many_and_its_switch_takes_that_away() {
    for switch in ["on", "off"] {
        let replica = Replica::start_connected(&[PATIENT[0], ("SINGLE_FLIGHT", switch), ("CACHE", "off")]);
        let reads = "dependency_request_duration_seconds_count{dependency=\"postgres\",outcome=\"ok\"}";
        let before = metric(&replica.url(""), reads).await as u32;
        let mut requests = JoinSet::new();
        for _ in 0..20 {
            let url = replica.url("/data?limit=200");
            requests.spawn(async move { get(&url).await });
        }
        let answers = requests.join_all().await;
        assert!(answers.iter().all(|answer| answer.status.as_u16() == 200), "{answers:?}");
        let done = metric(&replica.url(""), reads).await as u32 - before;
        let shared = answers.iter().filter(|answer| answer.cache_status().ends_with("collapsed")).count();
        assert_eq!(shared as u32 + done, 20, "each answer is a read of its own or a shared one");
        assert_eq!(done < 20, switch == "on", "{switch}: {done} reads");
    }
}

#[tokio::test]
async fn without_stale_if_error_an_old_entry_does_not_answer() {
    let (postgres, redis) = Proxy::pair();
    let variables = [("STALE_IF_ERROR", "off"), ("CACHE_FRESH", "200ms")];
    let replica = Replica::start_behind(&postgres, &redis, &variables);
    let url = replica.url(&format!("/data/{}", create(&replica.url(""), "old").await));
    postgres.set(Mode::Refuse);
    let answer = get_until(&url, |answer| !answer.cache_status().starts_with("redis; hit; ttl")).await;
    assert_eq!((answer.status.as_u16(), answer.cache_status()), (503, "redis; fwd=stale"));
}

#[tokio::test]
async fn one_redis_attempt_means_no_retry() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("REDIS_ATTEMPTS", "1"), ("BREAKERS", "off")]);
    redis.set(Mode::Silent);
    let start = Instant::now();
    let answer = get(&replica.url("/data/1")).await;
    assert_eq!((answer.status.as_u16(), answer.cache_status()), (200, "redis; fwd=bypass; detail=timeout"));
    assert!(start.elapsed() >= Duration::from_millis(40), "one attempt's time: {:?}", start.elapsed());
    for outcome in ["succeeded", "failed", "refused_budget", "refused_deadline"] {
        let series = format!("retries_total{{dependency=\"redis\",outcome=\"{outcome}\"}}");
        assert_eq!(metric(&replica.url(""), &series).await as u32, 0, "{outcome}");
    }
}

#[tokio::test]
async fn the_retry_budget_bounds_retries_and_its_switch_takes_that_away() {
    for (switch, most) in [("on", 20.0), ("off", 60.0)] {
        let (postgres, redis) = Proxy::pair();
        let variables = [("RETRY_BUDGET", switch), ("BREAKERS", "off"), ("REDIS_ATTEMPT_TIMEOUT", "5ms")];
        let replica = Replica::start_behind(&postgres, &redis, &variables);
        redis.set(Mode::Silent);
        for _ in 0..60 {
            assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
        }
        let retries = metric(&replica.url(""), "retries_total{dependency=\"redis\",outcome=\"failed\"}").await;
        let refused = metric(&replica.url(""), "retries_total{dependency=\"redis\",outcome=\"refused_budget\"}").await;
        assert!(retries <= most && retries >= 10.0, "{switch}: {retries} retries");
        assert_eq!(refused > 0.0, switch == "on", "{refused} refused");
    }
}
