//! The guards of Redis and Postgres, with servers that stop answering without closing connections.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::JoinSet;

use crate::{
    http::{Answer, create, get, get_until, metric},
    proxy::{Mode, Proxy, SCHEDULING},
    replica::{Replica, api},
    servers::Servers,
};

/// The request's deadline, and an allowance for a busy machine.
const ANSWERED: Duration = Duration::from_millis(300 + SCHEDULING.as_millis() as u64);
/// The time from the dependency's recovery to the first good answer.
const RECOVERED: Duration = Duration::from_secs(2);

async fn timed(url: String) -> (Answer, Duration) {
    let start = Instant::now();
    let answer = get(&url).await;
    (answer, start.elapsed())
}

/// sqlx pings dropped connections without a time limit before their permits return: with a silent Postgres, each would
/// take a permit with it.
#[tokio::test]
async fn a_silently_dead_postgres_keeps_no_permit() {
    let (postgres, redis) = Proxy::pair();
    let variables = [("DB_MAX_CONNECTIONS", "2"), ("BREAKERS", "off"), ("CACHE", "off"), ("SINGLE_FLIGHT", "off")];
    let replica = Replica::start_behind(&postgres, &redis, &variables);
    for id in 1..=4 {
        assert_eq!(get(&replica.url(&format!("/data/{id}"))).await.status.as_u16(), 200);
    }
    postgres.set(Mode::Silent);
    let mut reads = JoinSet::new();
    for id in 1..=20 {
        reads.spawn(timed(replica.url(&format!("/data/{id}"))));
    }
    for (answer, took) in reads.join_all().await {
        assert_eq!(answer.status.as_u16(), 503);
        assert!(
            ["database_timeout", "database_unavailable", "database_busy"].contains(&answer.problem_code()),
            "{answer:?}"
        );
        assert!(took < ANSWERED, "{took:?}: {answer:?}");
    }
    postgres.set(Mode::Pass);
    let back = Instant::now();
    get_until(&replica.url("/data/1"), |answer| answer.status.as_u16() == 200).await;
    assert!(back.elapsed() < RECOVERED, "{:?}", back.elapsed());
    // Both permits are free again: two simultaneous reads, repeatedly.
    for round in 0..10 {
        let (first, second) = (replica.url("/data/1"), replica.url("/data/2"));
        let (one, two) = tokio::join!(get(&first), get(&second));
        assert_eq!((one.status.as_u16(), two.status.as_u16()), (200, 200), "round {round}");
    }
    get_until(&replica.url("/metrics"), |metrics| {
        metrics
            .body
            .as_str()
            .is_some_and(|text| text.contains("pool_connections{dependency=\"postgres\",state=\"in_use\"} 0"))
    })
    .await;
}

#[tokio::test]
async fn postgres_away_is_told_from_postgres_silent_and_costs_nothing_once_the_breaker_is_open() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("BREAKER_OPEN", "1m")]);
    let cached = create(&replica.url(""), "cached").await;
    for (mode, word) in [(Mode::Refuse, "unreachable"), (Mode::Silent, "timeout")] {
        postgres.set(mode);
        let uncached = replica.url("/data/987654321");
        let open = get_until(&uncached, |answer| {
            answer.body["detail"].as_str().is_some_and(|detail| detail.contains("not asked now"))
        })
        .await;
        assert_eq!((open.status.as_u16(), open.problem_code()), (503, "database_not_asked"));
        assert_eq!(open.body["dependency"], "postgres");
        let (_, took) = timed(uncached.clone()).await;
        assert!(took < Duration::from_millis(10) + SCHEDULING, "{took:?}");
        let hit = get(&replica.url(&format!("/data/{cached}"))).await;
        assert!(hit.cache_status().starts_with("redis; hit; ttl="), "as if nothing had happened: {hit:?}");
        let health = get_until(&replica.url("/health"), |health| {
            health.body["checks"]["postgres:responseTime"][0]["output"] == word
        })
        .await;
        assert_eq!((health.status.as_u16(), &health.body["status"]), (503, &"fail".into()));
        assert_eq!(metric(&replica.url(""), "dependency_up{dependency=\"postgres\"}").await as i64, 0);
        assert_eq!(metric(&replica.url(""), "breaker_state{dependency=\"postgres\"}").await as i64, 2);

        // The prober closes the breaker, whose own time is a minute.
        postgres.set(Mode::Pass);
        let back = Instant::now();
        get_until(&uncached, |answer| answer.status.as_u16() == 404).await;
        assert!(back.elapsed() < RECOVERED, "after {mode:?}: {:?}", back.elapsed());
        get_until(&replica.url("/health"), |health| health.body["status"] == "pass").await;
    }
}

#[tokio::test]
async fn redis_away_or_silent_is_a_bypass_within_its_bound_and_free_once_the_breaker_is_open() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("BREAKER_OPEN", "1m")]);
    let url = replica.url("/data/1");
    for mode in [Mode::Silent, Mode::Refuse] {
        get_until(&url, |answer| answer.cache_status().starts_with("redis; hit")).await;
        redis.set(mode);
        let (first, took) = timed(url.clone()).await;
        assert_eq!(first.status.as_u16(), 200, "{first:?}");
        assert!(first.cache_status().starts_with("redis; fwd=bypass; detail="), "{first:?}");
        assert!(took < Duration::from_millis(80) + SCHEDULING, "{took:?}");
        get_until(&url, |answer| answer.cache_status() == "redis; fwd=bypass; detail=breaker_open").await;
        let open = get(&url).await;
        let redis_ms = open.header("server-timing").split("redis;dur=").nth(1).and_then(|rest| rest.split(',').next());
        let redis_ms: f64 = redis_ms.and_then(|ms| ms.parse().ok()).expect("a duration");
        assert!(redis_ms <= 5.0, "{open:?}");
        let health = get_until(&replica.url("/health"), |health| health.body["status"] == "warn").await;
        assert_eq!(health.status.as_u16(), 200, "a warning keeps the replica in service");

        redis.set(Mode::Pass);
        let back = Instant::now();
        get_until(&url, |answer| answer.cache_status().starts_with("redis; hit")).await;
        assert!(back.elapsed() < RECOVERED, "after {mode:?}: {:?}", back.elapsed());
    }
    assert!(metric(&replica.url(""), "retries_total{dependency=\"redis\",outcome=\"failed\"}").await > 0.0);
}

#[tokio::test]
async fn both_silent_still_gets_an_answer_in_time() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("BREAKERS", "off")]);
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
    postgres.set(Mode::Silent);
    redis.set(Mode::Silent);
    for path in ["/data/1", "/data", "/data/1"] {
        let (answer, took) = timed(replica.url(path)).await;
        assert_eq!(answer.status.as_u16(), 503, "{answer:?}");
        assert!(took < ANSWERED, "{took:?}: {answer:?}");
    }
}

#[tokio::test]
async fn an_old_entry_answers_while_postgres_does_not() {
    let (postgres, redis) = Proxy::pair();
    let replica = Replica::start_behind(&postgres, &redis, &[("CACHE_FRESH", "1s")]);
    let id = create(&replica.url(""), "grows old").await;
    let url = replica.url(&format!("/data/{id}"));
    postgres.set(Mode::Silent);
    let stale = get_until(&url, |answer| answer.cache_status() == "redis; hit; detail=stale").await;
    assert_eq!((stale.status.as_u16(), stale.body["id"].as_i64()), (200, Some(id)));
    assert!(stale.header("age").parse::<u64>().is_ok_and(|age| age >= 1), "{stale:?}");
    // Once the breaker is open, a request is fast.
    get_until(&replica.url("/data/987654321"), |answer| {
        answer.body["detail"].as_str().is_some_and(|detail| detail.contains("not asked now"))
    })
    .await;
    let (stale, took) = timed(url.clone()).await;
    assert_eq!(stale.cache_status(), "redis; hit; detail=stale");
    assert!(took < Duration::from_millis(50) + SCHEDULING, "{took:?}");
    postgres.set(Mode::Pass);
    get_until(&url, |answer| answer.cache_status() == "redis; fwd=stale; stored").await;
}

#[tokio::test]
async fn a_replica_that_started_alone_uses_its_dependencies_once_they_come() {
    let servers = Servers::shared();
    for mode in [Mode::Refuse, Mode::Silent] {
        let (postgres, redis) = Proxy::pair();
        postgres.set(mode);
        redis.set(mode);
        let mut command = api(&["serve"]);
        command.env("DATABASE_URL", postgres.in_place_of(&servers.database_url));
        command.env("REDIS_URL", redis.in_place_of(&servers.redis_url));
        let replica = Replica::start_with(command, &[], Some(Arc::clone(&servers)));
        assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 503);
        let is_down = |health: &Answer| health.status.as_u16() == 503;
        get_until(&replica.url("/health"), is_down).await;
        postgres.set(Mode::Pass);
        redis.set(Mode::Pass);
        let back = Instant::now();
        get_until(&replica.url("/data/1"), |answer| answer.cache_status().starts_with("redis; hit; ttl=")).await;
        assert!(back.elapsed() < RECOVERED, "after {mode:?}: {:?}", back.elapsed());
    }
}
