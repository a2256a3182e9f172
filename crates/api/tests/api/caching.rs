//! Answers from the cache, and the update of the cache by writes. Redis and Postgres are available here; their outages
//! are in the fallback matrix of the lab.

use reqwest::{Client, StatusCode};
use serde_json::json;
use sqlx::raw_sql;
use tokio::task::JoinSet;

use crate::{
    http::{Answer, create, get, get_until, metric, send},
    replica::{PATIENT, Replica},
    servers::Servers,
};

#[tokio::test]
async fn a_miss_is_stored_and_then_hit() {
    let replica = Replica::start_connected(&[PATIENT[0], ("CACHE_FRESH", "1500ms")]);
    let url = replica.url(&format!("/data/{}", create(&replica.url(""), "aside").await));
    // The POST itself has stored it, so wait until that entry is no longer fresh.
    let refreshed = get_until(&url, |answer| answer.cache_status() == "redis; fwd=stale; stored").await;
    assert!(refreshed.header("server-timing").contains("db;dur="), "{refreshed:?}");
    let hit = get(&url).await;
    assert!(hit.cache_status().starts_with("redis; hit; ttl="), "{hit:?}");
    assert!(!hit.header("server-timing").contains("db;"), "a hit does not reach Postgres");
    assert_eq!(hit.body, refreshed.body);
}

#[tokio::test]
async fn a_missing_id_is_remembered_shortly_and_a_post_clears_it() {
    let replica = Replica::start_connected(&[PATIENT[0], ("CACHE_MISSING", "1m")]);
    let next = create(&replica.url(""), "before").await + 1_000_000;
    let url = replica.url(&format!("/data/{next}"));
    let first = get(&url).await;
    assert_eq!((first.problem_code(), first.cache_status()), ("not_found", "redis; fwd=uri-miss; stored"));
    let second = get(&url).await;
    assert_eq!(second.problem_code(), "not_found");
    assert!(second.cache_status().starts_with("redis; hit; ttl="), "{second:?}");

    // Other tests create records at the same time, so request ids ahead until one of ours is among them.
    let ahead = create(&replica.url(""), "ahead").await;
    for id in ahead + 1..ahead + 40 {
        get(&replica.url(&format!("/data/{id}"))).await;
    }
    let created = create(&replica.url(""), "was missing").await;
    assert_eq!(get(&replica.url(&format!("/data/{created}"))).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_write_is_seen_at_once_through_every_replica() {
    let (one, two) = (Replica::start_connected(&PATIENT), Replica::start_connected(&PATIENT));
    let client = Client::new();
    let id = create(&one.url(""), "shared").await;
    let path = format!("/data/{id}");
    let page = format!("/data?limit=1&after={}", id - 1);
    for round in 0..20 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let body = json!({"name": "shared", "value": format!("round {round}")});
        let written = send(client.put(writer.url(&path)).json(&body)).await;
        assert_eq!(written.status, StatusCode::OK);
        assert_eq!(get(&reader.url(&path)).await.body, written.body, "round {round}");
        assert_eq!(get(&reader.url(&page)).await.body["items"][0], written.body, "the page, round {round}");
    }
    assert_eq!(send(client.delete(one.url(&path))).await.status, StatusCode::NO_CONTENT);
    assert_eq!(get(&two.url(&path)).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_page_is_hit_until_something_is_written() {
    let replica = Replica::start_connected(&PATIENT);
    let url = replica.url("/data?limit=7&after=100");
    // Writes of other tests start new generations too.
    let hit = get_until(&url, |answer| answer.cache_status().starts_with("redis; hit; ttl=")).await;
    assert_eq!(hit.body["items"].as_array().map(Vec::len), Some(7));
    let body = json!({"name": "demo", "value": replica.address.to_string()});
    assert_eq!(send(Client::new().put(replica.url("/data/101")).json(&body)).await.status, StatusCode::OK);
    let after = get(&url).await;
    assert_eq!(after.body["items"][0]["value"], replica.address.to_string(), "{after:?}");
}

#[tokio::test]
async fn without_the_cache_every_read_goes_to_postgres() {
    let replica = Replica::start_connected(&[PATIENT[0], ("CACHE", "off")]);
    for _ in 0..3 {
        let answer = get(&replica.url("/data/1")).await;
        assert_eq!((answer.status, answer.cache_status()), (StatusCode::OK, "redis; fwd=bypass; detail=off"));
    }
}

/// `Cache-Control` of the request (RFC 9111, 5.2.1).
#[tokio::test]
async fn no_cache_goes_past_the_cache() {
    let replica = Replica::start_connected(&[PATIENT[0], ("CACHE_FRESH", "10m")]);
    let client = Client::new();
    let id = create(&replica.url(""), "no-cache").await;
    for path in [format!("/data/{id}"), format!("/data?limit=3&after={}", id - 1)] {
        let url = replica.url(&path);
        get_until(&url, |answer| answer.cache_status().starts_with("redis; hit")).await;
        for line in ["no-cache", "max-age=0", "max-stale, No-Cache"] {
            let fetched = send(client.get(&url).header("cache-control", line)).await;
            assert_eq!(fetched.status, StatusCode::OK);
            assert!(!fetched.cache_status().starts_with("redis; hit"), "{line}: {fetched:?}");
            assert!(fetched.header("server-timing").contains("db;dur="), "{line}: {fetched:?}");
            assert_eq!(fetched.header("cache-control"), "no-cache");
        }
        for line in ["max-age=60", "x=\"no-cache\"", "no-store"] {
            get_until(&url, |answer| answer.cache_status().starts_with("redis; hit")).await;
            let hit = send(client.get(&url).header("cache-control", line).header("pragma", "no-cache")).await;
            // Another test's write may have ended the page in between.
            assert!(hit.cache_status().starts_with("redis; hit") || path.contains('?'), "{line}: {hit:?}");
        }
    }
}

/// A running flight may be older than a write that was answered since.
#[tokio::test]
async fn past_the_cache_no_read_joins_one_that_has_begun() {
    let servers = Servers::alone();
    let variables =
        [("CACHE", "off"), ("DB_LOCK_TIMEOUT", "8s"), ("DB_STATEMENT_TIMEOUT", "9s"), ("REQUEST_TIMEOUT", "20s")];
    let replica = Replica::start_on(&servers, &variables);
    let answered = "dependency_request_duration_seconds_count{dependency=\"postgres\",outcome=\"ok\"}";
    let mut admin = servers.admin().await;
    raw_sql("BEGIN; LOCK TABLE records IN ACCESS EXCLUSIVE MODE").execute(&mut admin).await.expect("locked");
    let before = metric(&replica.url(""), answered).await;
    let url = replica.url("/data/1");
    let in_flight = |wanted: &'static str| {
        let metrics = replica.url("/metrics");
        async move {
            get_until(&metrics, |metrics| {
                metrics.body.as_str().is_some_and(|text| text.lines().any(|line| line == wanted))
            })
            .await
        }
    };
    let mut reads = JoinSet::new();
    let read = |reads: &mut JoinSet<Answer>| {
        let url = url.clone();
        reads.spawn(async move { get(&url).await });
    };
    read(&mut reads);
    in_flight("pool_connections{dependency=\"postgres\",state=\"in_use\"} 1").await;
    (0..9).for_each(|_| read(&mut reads));
    in_flight("admission_in_flight 10").await;
    raw_sql("COMMIT").execute(&mut admin).await.expect("unlocked");
    for answer in reads.join_all().await {
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
    let statements = metric(&replica.url(""), answered).await - before;
    assert!((2.0..=4.0).contains(&statements), "{statements} reads of Postgres for 1 and then 9 requests");
}
