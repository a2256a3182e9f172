//! The near cache: its answers, how soon it removes records that another replica has changed, and when it does not
//! answer.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    http::{Answer, create, get, get_until, metric, send},
    proxy::{Mode, Proxy},
    replica::Replica,
    servers::Servers,
};

const ON: (&str, &str) = ("NEAR_CACHE", "on");
/// No entry expires during a test.
const LONG: (&str, &str) = ("CACHE_FRESH", "10m");
/// The promise: the longest time for which an answer may be older than the last write.
const BOUND: Duration = Duration::from_millis(200);

const HITS: &str = "cache_requests_total{result=\"near\"}";

fn drops(reason: &str) -> String {
    format!("near_cache_drops_total{{reason=\"{reason}\"}}")
}

fn is_near(answer: &Answer) -> bool {
    answer.cache_status().starts_with("near; hit; ttl=")
}

/// Waits until Redis has answered a heartbeat of the replica.
fn listening(replica: Replica) -> Replica {
    replica.wait_for_log(|line| line["message"] == "the near cache listens to Redis");
    replica
}

fn near_on(servers: &Arc<Servers>, variables: &[(&str, &str)]) -> Replica {
    listening(Replica::start_on(servers, &[&[ON, LONG], variables].concat()))
}

/// One replica with the near cache, and one without it that writes, over the shared servers.
fn reader_and_writer() -> (Replica, Replica) {
    let servers = Servers::shared();
    (near_on(&servers, &[]), Replica::start_on(&servers, &[]))
}

async fn put(url: &str, value: &str) -> Answer {
    let written = send(Client::new().put(url).json(&json!({"name": "near", "value": value}))).await;
    assert_eq!(written.status, StatusCode::OK, "{written:?}");
    written
}

/// Reads until an answer is as expected. No earlier read may have begun after the bound.
async fn seen_within_the_bound(url: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let written = Instant::now();
    loop {
        let begun = written.elapsed();
        let answer = get(url).await;
        if wanted(&answer) {
            return answer;
        }
        assert!(begun < BOUND, "still old after {begun:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_near_hit_is_the_stored_answer_without_redis_and_postgres() {
    let (reader, _) = reader_and_writer();
    let id = create(&reader.url(""), "near").await;
    let url = reader.url(&format!("/data/{id}"));
    let from_redis = get_until(&url, |answer| answer.cache_status().starts_with("redis; hit")).await;
    let before = metric(&reader.url(""), HITS).await;
    let hit = get_until(&url, is_near).await;
    assert_eq!(hit.body, from_redis.body);
    assert_eq!((hit.header("etag"), hit.header("cache-control")), (from_redis.header("etag"), "no-cache"));
    assert_eq!(hit.header("server-timing"), "", "neither was asked");
    let known = send(Client::new().get(&url).header("if-none-match", hit.header("etag"))).await;
    assert_eq!((known.status, is_near(&known)), (StatusCode::NOT_MODIFIED, true), "{known:?}");
    let other = send(Client::new().get(&url).header("if-match", "\"99\"")).await;
    assert_eq!((other.problem_code(), is_near(&other)), ("precondition_failed", true), "{other:?}");
    assert!(metric(&reader.url(""), HITS).await >= before + 3.0);
    assert!(metric(&reader.url(""), "near_cache_entries").await >= 1.0);
    assert!(metric(&reader.url(""), "near_cache_bytes").await >= hit.body.to_string().len() as f64);
    reader.wait_for_log(|line| line["message"] == "request" && line["cache"] == "near");

    let past = send(Client::new().get(&url).header("cache-control", "no-cache")).await;
    assert!(past.header("server-timing").contains("db;dur="), "{past:?}");
}

#[tokio::test]
async fn a_write_of_another_replica_is_seen_within_the_bound() {
    let (reader, writer) = reader_and_writer();
    let id = create(&writer.url(""), "near").await;
    let (url, write_url) = (reader.url(&format!("/data/{id}")), writer.url(&format!("/data/{id}")));
    for round in 0..20 {
        get_until(&url, is_near).await;
        let value = format!("round {round}");
        let written = put(&write_url, &value).await;
        let seen = seen_within_the_bound(&url, |answer| answer.body["value"] == *value).await;
        assert_eq!(seen.body, written.body);
    }
    assert!(metric(&reader.url(""), &drops("changed")).await >= 20.0);
    assert!(metric(&reader.url(""), "near_cache_invalidations_total").await >= 20.0);
    get_until(&url, is_near).await;
    assert_eq!(send(Client::new().delete(&write_url)).await.status, StatusCode::NO_CONTENT);
    seen_within_the_bound(&url, |answer| answer.status == StatusCode::NOT_FOUND).await;
    let gone = get_until(&url, is_near).await;
    assert_eq!(gone.problem_code(), "not_found", "the tombstone is near, too");
}

#[tokio::test]
async fn a_replica_sees_its_own_writes_at_once() {
    let (reader, _) = reader_and_writer();
    let id = create(&reader.url(""), "near").await;
    let url = reader.url(&format!("/data/{id}"));
    let mut others = JoinSet::new();
    for _ in 0..4 {
        // They insert what they read all the time.
        let url = url.clone();
        others.spawn(async move {
            let client = Client::new();
            loop {
                assert!(client.get(&url).send().await.expect("an answer").bytes().await.is_ok());
            }
        });
    }
    for round in 0..100 {
        let written = put(&url, &format!("round {round}")).await;
        let read = get(&url).await;
        assert_eq!(read.body, written.body, "round {round}: {read:?}");
    }
    assert_eq!(send(Client::new().delete(&url)).await.status, StatusCode::NO_CONTENT);
    for _ in 0..20 {
        assert_eq!(get(&url).await.status, StatusCode::NOT_FOUND);
    }
    others.abort_all();
    assert!(metric(&reader.url(""), HITS).await > 0.0);
}

#[tokio::test]
async fn cut_off_from_redis_it_is_silent_within_the_bound() {
    for mode in [Mode::Silent, Mode::Refuse] {
        let (postgres, redis) = Proxy::pair();
        let reader = listening(Replica::start_behind(&postgres, &redis, &[ON, LONG]));
        let writer = Replica::start_connected(&[]);
        let id = create(&writer.url(""), "near").await;
        let (url, write_url) = (reader.url(&format!("/data/{id}")), writer.url(&format!("/data/{id}")));
        get_until(&url, is_near).await;
        get_until(&reader.url("/data/1"), is_near).await;
        redis.set(mode);
        put(&write_url, "while the reader hears nothing").await;
        let new = |answer: &Answer| answer.body["value"] == "while the reader hears nothing";
        let seen = seen_within_the_bound(&url, new).await;
        assert!(seen.cache_status().contains("fwd=bypass"), "{mode:?}: {seen:?}");
        let lost = |line: &serde_json::Value| line["message"] == "the near cache lost Redis";
        reader.wait_for_log(lost);
        assert!(metric(&reader.url(""), &drops("lost")).await >= 1.0, "{mode:?}");
        assert_eq!(metric(&reader.url(""), "near_cache_listening").await as u32, 0);
        redis.set(Mode::Pass);
        assert!(new(&get_until(&url, is_near).await), "{mode:?}: it begins anew");
    }
}

#[tokio::test]
async fn a_replica_that_was_stopped_serves_nothing_from_before() {
    let (reader, writer) = reader_and_writer();
    let id = create(&writer.url(""), "near").await;
    let url = reader.url(&format!("/data/{id}"));
    for round in 0..5 {
        get_until(&url, is_near).await;
        reader.signal(Signal::STOP);
        let value = format!("while it is stopped, {round}");
        put(&writer.url(&format!("/data/{id}")), &value).await;
        // The request waits in its socket, and the report of the change in another one.
        let waiting = tokio::spawn({
            let url = url.clone();
            async move { get(&url).await }
        });
        tokio::time::sleep(BOUND).await;
        reader.signal(Signal::CONT);
        let first = waiting.await.expect("an answer");
        assert_eq!(first.body["value"], *value, "it came {BOUND:?} after the write: {first:?}");
    }
}

#[tokio::test]
async fn redis_that_refuses_or_holds_up_writes_counts_as_not_heard() {
    let servers = Servers::alone();
    let (reader, writer) = (near_on(&servers, &[]), Replica::start_on(&servers, &[]));
    let id = create(&writer.url(""), "near").await;
    let (url, write_url) = (reader.url(&format!("/data/{id}")), writer.url(&format!("/data/{id}")));
    for (number, (fault, cure)) in [
        (vec!["REPLICAOF", "127.0.0.1", "1"], vec!["REPLICAOF", "NO", "ONE"]),
        (vec!["CLIENT", "PAUSE", "60000", "WRITE"], vec!["CLIENT", "UNPAUSE"]),
        (vec!["ACL", "SETUSER", "app", "-getex"], vec!["ACL", "SETUSER", "app", "+getex"]),
    ]
    .into_iter()
    .enumerate()
    {
        get_until(&url, is_near).await;
        servers.redis(&fault);
        let value = format!("write {number}, which Redis may miss");
        put(&write_url, &value).await;
        seen_within_the_bound(&url, |answer| answer.body["value"] == *value).await;
        servers.redis(&cure);
        assert_eq!(get_until(&url, is_near).await.body["value"], *value, "{fault:?}");
    }
}

#[tokio::test]
async fn when_redis_forgets_everything_so_does_the_near_cache() {
    let servers = Servers::alone();
    let reader = near_on(&servers, &[]);
    let url = reader.url("/data/1");
    get_until(&url, is_near).await;
    servers.redis(&["FLUSHALL"]);
    let next = get_until(&url, |answer| !is_near(answer)).await;
    assert!(next.cache_status().starts_with("redis; fwd=uri-miss"), "{next:?}");
    assert!(metric(&reader.url(""), &drops("flushed")).await >= 1.0);
    get_until(&url, is_near).await;
}

#[tokio::test]
async fn it_serves_no_entry_past_its_fresh_time() {
    let (postgres, redis) = Proxy::pair();
    let variables = [ON, ("CACHE_FRESH", "1s"), ("CACHE_MISSING", "1s")];
    let reader = listening(Replica::start_behind(&postgres, &redis, &variables));
    let url = reader.url(&format!("/data/{}", create(&reader.url(""), "near").await));
    get_until(&url, is_near).await;
    postgres.set(Mode::Refuse);
    let stale = get_until(&url, |answer| !answer.cache_status().contains("ttl=")).await;
    assert_eq!(stale.cache_status(), "redis; hit; detail=stale");
    assert!(!is_near(&get(&url).await), "an old entry is not kept near");
}

#[tokio::test]
async fn the_limit_of_bytes_holds() {
    let limit = 1024 * 1024;
    let servers = Servers::shared();
    let reader = near_on(&servers, &[("NEAR_CACHE_BYTES", "1048576")]);
    let client = Client::new();
    // Six bytes each in JSON: more than the sixteenth of the limit that one entry may take.
    let body = json!({"name": "large", "value": "\u{1}".repeat(16 * 1024)});
    let large = send(client.post(reader.url("/data")).json(&body)).await;
    let large = reader.url(large.header("location"));
    for _ in 0..5 {
        assert!(get(&large).await.cache_status().starts_with("redis; hit"), "it is never near");
    }
    assert!(metric(&reader.url(""), &drops("too_large")).await >= 1.0);
    let body = json!({"name": "many", "value": "x".repeat(8 * 1024)});
    for _ in 0..200 {
        let created = send(client.post(reader.url("/data")).json(&body)).await;
        get(&reader.url(created.header("location"))).await;
    }
    let bytes = metric(&reader.url(""), "near_cache_bytes").await;
    assert!(bytes <= f64::from(limit) && bytes > f64::from(limit) / 4.0, "{bytes} bytes");
    assert!(metric(&reader.url(""), &drops("evicted")).await >= 50.0);
}

#[tokio::test]
async fn without_its_switch_every_hit_is_of_redis() {
    let replica = Replica::start_connected(&[LONG]);
    for _ in 0..20 {
        let answer = get(&replica.url("/data/2")).await;
        assert!(answer.cache_status().starts_with("redis; "), "{answer:?}");
    }
    assert_eq!(metric(&replica.url(""), HITS).await as u32, 0);
    assert_eq!(metric(&replica.url(""), "near_cache_listening").await as u32, 0);
}

/// A Redis without RESP3, and one that does not permit this user to track changes.
#[tokio::test]
async fn where_redis_does_not_report_changes_it_is_off_and_says_so() {
    let (postgres, redis) = Proxy::pair();
    redis.set(Mode::WithoutHello);
    is_off_and_says_so(&Replica::start_behind(&postgres, &redis, &[ON, LONG]), "OLLEH").await;
    let servers = Servers::alone();
    servers.redis(&["ACL", "SETUSER", "app", "-client|tracking"]);
    is_off_and_says_so(&Replica::start_on(&servers, &[ON, LONG]), "NoPerm").await;
}

async fn is_off_and_says_so(replica: &Replica, reason: &str) {
    let warning = replica.wait_for_log(|line| {
        line["level"] == "WARN"
            && line["message"].as_str().is_some_and(|text| text.starts_with("the near cache is off"))
    });
    assert!(warning["error"].as_str().is_some_and(|error| error.contains(reason)), "{warning}");
    get_until(&replica.url("/data/1"), |answer| answer.cache_status().starts_with("redis; hit")).await;
    for _ in 0..20 {
        assert!(get(&replica.url("/data/1")).await.cache_status().starts_with("redis; hit"), "{reason}");
    }
    assert_eq!(metric(&replica.url(""), "near_cache_listening").await as u32, 0);
}
