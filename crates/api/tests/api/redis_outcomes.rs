//! Error replies of Redis and invalid values under its keys: the request does not fail, and no stale answer is served
//! (docs/outcomes.md).

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use sqlx::AssertSqlSafe;

use crate::{
    http::{Answer, create, get, get_until, metric, send},
    proxy::{Mode, Proxy, SCHEDULING},
    replica::{PATIENCE, Replica},
    servers::Servers,
};

/// The time from the end of the trouble to the first hit.
const RECOVERED: Duration = Duration::from_secs(2);

async fn put(url: &str, value: &str) -> Answer {
    send(Client::new().put(url).json(&json!({"name": "n", "value": value}))).await
}

async fn breaker(replica: &Replica) -> i64 {
    metric(&replica.url(""), "breaker_state{dependency=\"redis\"}").await as i64
}

fn is_hit(answer: &Answer) -> bool {
    answer.cache_status().starts_with("redis; hit; ttl=")
}

#[tokio::test]
async fn a_corrupt_entry_is_a_miss_that_is_replaced_on_the_spot_and_no_fault_of_redis() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[("BREAKER_FAILURES", "2")]);
    let key = |id: i64| format!("record:v1:{id}");
    let large = "x".repeat(400_000);
    assert_eq!(get(&replica.url("/data/50")).await.status, StatusCode::OK);
    for (id, what) in
        (1..).zip(["list", "hash", "junk", "empty", "digits", "another id's", "400 kB", "head only", "hold"])
    {
        let redis = |words: &[&str]| drop(servers.redis(words));
        match what {
            "list" => redis(&["LPUSH", &key(id), "x"]),
            "hash" => redis(&["HSET", &key(id), "a", "b"]),
            "junk" => redis(&["SET", &key(id), "junk"]),
            "empty" => redis(&["SET", &key(id), ""]),
            "digits" => redis(&["SET", &key(id), "99999999999999999999"]),
            "another id's" => redis(&["COPY", &key(50), &key(id)]),
            "400 kB" => redis(&["SET", &key(id), &large]),
            "head only" => redis(&["SET", &key(id), "0000000000000000000517900000000001790000030000R"]),
            _ => redis(&["SET", &key(id), "18446744073709551615"]),
        }
        let url = replica.url(&format!("/data/{id}"));
        let first = get(&url).await;
        assert_eq!((first.status, first.body["id"].as_i64()), (StatusCode::OK, Some(id)), "{what}: {first:?}");
        assert_eq!(first.cache_status(), "redis; fwd=uri-miss; stored; detail=corrupt", "{what}");
        let second = get(&url).await;
        assert!(is_hit(&second) && second.body["id"].as_i64() == Some(id), "{what}: {second:?}");
        assert_eq!(breaker(&replica).await, 0, "{what}");
    }
    assert!(metric(&replica.url(""), "cache_requests_total{result=\"corrupt\"}").await >= 9.0);
}

#[tokio::test]
async fn corrupt_pages_and_generations_are_replaced() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[("BREAKER_FAILURES", "2")]);
    let url = replica.url("/data?limit=3");
    for words in [
        &["SET", "page:v1:0:3", "junk"][..],
        &["DEL", "page:v1:0:3"],
        &["SET", "page-generation:v1", "99999999999999999999"],
        &["SET", "page-generation:v1", "junk"],
        &["DEL", "page-generation:v1"],
    ] {
        get_until(&url, is_hit).await;
        servers.redis(words);
        let next = get(&url).await;
        assert_eq!((next.status, next.body["items"].as_array().map(Vec::len)), (StatusCode::OK, Some(3)), "{words:?}");
        let value = format!("after {words:?}");
        assert_eq!(put(&replica.url("/data/1"), &value).await.status, StatusCode::OK);
        assert_eq!(get(&url).await.body["items"][0]["value"], value, "a write is seen after {words:?}");
    }
    for key in ["page:v1:0:3", "page-generation:v1"] {
        servers.redis(&["DEL", key]);
        servers.redis(&["LPUSH", key, "x"]);
        assert_eq!(get(&url).await.status, StatusCode::OK, "{key}");
        get_until(&url, is_hit).await;
    }
    assert_eq!(breaker(&replica).await, 0);
}

/// Commands to Redis.
type Commands = &'static [&'static [&'static str]];

/// How Redis is made to refuse writes, and to take them again.
const REFUSALS: [(&str, Commands, Commands); 4] = [
    ("a replica of nobody", &[&["REPLICAOF", "127.0.0.1", "1"]], &[&["REPLICAOF", "NO", "ONE"]]),
    (
        "too few replicas",
        &[&["CONFIG", "SET", "min-replicas-to-write", "1"]],
        &[&["CONFIG", "SET", "min-replicas-to-write", "0"]],
    ),
    (
        "out of memory",
        &[&["CONFIG", "SET", "maxmemory-policy", "noeviction"], &["CONFIG", "SET", "maxmemory", "1"]],
        &[&["CONFIG", "SET", "maxmemory", "64mb"]],
    ),
    (
        "no permission",
        &[&["ACL", "SETUSER", "app", "-set", "-getex", "-del", "-eval", "-evalsha"]],
        &[&["ACL", "SETUSER", "app", "+set", "+getex", "+del", "+eval", "+evalsha"]],
    ),
];

#[tokio::test]
async fn a_redis_that_refuses_writes_serves_nothing_old_is_seen_in_health_and_heals_by_itself() {
    let servers = Servers::alone();
    // The last one does not write: only its own look-ups show that Redis refuses writes.
    let replicas: [Replica; 3] = std::array::from_fn(|_| Replica::start_on(&servers, &[]));
    for (why, refuse, heal) in REFUSALS {
        let [changed, gone, other] = [
            create(&replicas[0].url(""), "changed").await,
            create(&replicas[0].url(""), "gone").await,
            create(&replicas[0].url(""), "other").await,
        ];
        let path = |id: i64| format!("/data/{id}");
        let page = format!("/data?limit=3&after={}", changed - 1);
        for replica in &replicas {
            for path in [path(changed), path(gone), path(other), page.clone()] {
                get_until(&replica.url(&path), is_hit).await;
            }
        }
        refuse.iter().for_each(|words| drop(servers.redis(words)));
        assert_eq!(put(&replicas[0].url(&path(changed)), "new").await.status, StatusCode::OK, "{why}");
        let deleted = send(Client::new().delete(replicas[1].url(&path(gone)))).await;
        assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{why}");
        for round in 0..10 {
            for replica in &replicas {
                assert_eq!(get(&replica.url(&path(changed))).await.body["value"], "new", "{why}, {round}");
                assert_eq!(get(&replica.url(&path(gone))).await.status, StatusCode::NOT_FOUND, "{why}, {round}");
                assert_eq!(get(&replica.url(&path(other))).await.status, StatusCode::OK, "{why}: reads go on");
                let items = get(&replica.url(&page)).await.body["items"].clone();
                assert_eq!((&items[0]["value"], &items[1]["id"]), (&json!("new"), &json!(other)), "{why}, {round}");
            }
        }
        for replica in &replicas {
            let health = get_until(&replica.url("/health"), |health| health.body["status"] == "warn").await;
            assert_eq!(health.status, StatusCode::OK, "{why}");
            assert_eq!(metric(&replica.url(""), "dependency_writable{dependency=\"redis\"}").await as i64, 0, "{why}");
            assert_eq!(metric(&replica.url(""), "dependency_up{dependency=\"redis\"}").await as i64, 1, "{why}");
            replica.wait_for_log(|line| line["message"] == "dependency refuses writes");
        }
        heal.iter().for_each(|words| drop(servers.redis(words)));
        let back = Instant::now();
        for replica in &replicas {
            get_until(&replica.url(&path(other)), is_hit).await;
            assert!(back.elapsed() < RECOVERED + SCHEDULING, "{why}: {:?}", back.elapsed());
        }
        for replica in &replicas {
            assert_eq!(get(&replica.url(&path(changed))).await.body["value"], "new", "{why}");
            assert_eq!(get(&replica.url(&path(gone))).await.status, StatusCode::NOT_FOUND, "{why}");
            get_until(&replica.url("/health"), |health| health.body["status"] == "pass").await;
        }
    }
}

#[tokio::test]
async fn a_redis_that_lets_nobody_in_is_away_and_not_asked_to_connect_by_every_request() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[]);
    // One connection for all of it: there may be no other.
    let mut admin = servers.redis_admin();
    let received = |admin: &mut redis::Connection| {
        let stats: String = redis::cmd("INFO").arg("stats").query(admin).expect("Redis answers");
        let count = stats.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        count.expect("the count").trim().parse::<u64>().expect("a number")
    };
    for (why, shut, open) in [
        ("user off", &["ACL", "SETUSER", "app", "off"][..], &["ACL", "SETUSER", "app", "on"][..]),
        ("too many clients", &["CONFIG", "SET", "maxclients", "1"], &["CONFIG", "SET", "maxclients", "1000"]),
    ] {
        get_until(&replica.url("/data/1"), is_hit).await;
        redis::Cmd::new().arg(shut).exec(&mut admin).expect("shut");
        redis::cmd("CLIENT").arg(&["KILL", "USER", "app"]).exec(&mut admin).expect("ended");
        let before = received(&mut admin);
        let start = Instant::now();
        for _ in 0..200 {
            let read = get(&replica.url("/data/1")).await;
            assert_eq!(read.status, StatusCode::OK, "{why}: {read:?}");
        }
        // Twice a second, and with each request that fails at first, but not with each request.
        let allowed = 20 + 4 * start.elapsed().as_secs();
        let made = received(&mut admin) - before;
        assert!(made <= allowed, "{why}: {made} connections for 200 reads");
        // A replica that starts meanwhile has a service, and later a cache.
        let mut command = crate::replica::api(&["serve"]);
        command.env("DATABASE_URL", &servers.database_url).env("REDIS_URL", &servers.redis_url);
        let started = Replica::start_with(command, &[], Some(std::sync::Arc::clone(&servers)));
        assert_eq!(get(&started.url("/data/1")).await.status, StatusCode::OK, "{why}");
        redis::Cmd::new().arg(open).exec(&mut admin).expect("open");
        let back = Instant::now();
        for replica in [&replica, &started] {
            get_until(&replica.url("/data/1"), is_hit).await;
            assert!(back.elapsed() < RECOVERED + SCHEDULING, "{why}: {:?}", back.elapsed());
        }
    }
}

#[tokio::test]
async fn writes_that_redis_missed_are_repaired_as_soon_as_it_takes_writes_again() {
    let servers = Servers::alone();
    let replicas = [Replica::start_on(&servers, &[]), Replica::start_on(&servers, &[])];
    let id = create(&replicas[0].url(""), "repaired").await;
    let path = format!("/data/{id}");
    for replica in &replicas {
        get_until(&replica.url(&path), is_hit).await;
    }
    servers.redis(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    assert_eq!(put(&replicas[0].url(&path), "while paused").await.status, StatusCode::OK);
    assert!(metric(&replicas[0].url(""), "cache_missed_writes").await >= 1.0);
    servers.redis(&["CLIENT", "UNPAUSE"]);
    let back = Instant::now();
    for replica in &replicas {
        get_until(&replica.url(&path), |read| is_hit(read) && read.body["value"] == "while paused").await;
        assert!(back.elapsed() < RECOVERED + SCHEDULING, "{:?}: its fresh time is 30 s", back.elapsed());
    }
    get_until(&replicas[0].url("/metrics"), |metrics| {
        metrics.body.as_str().is_some_and(|text| text.lines().any(|line| line == "cache_missed_writes 0"))
    })
    .await;
}

#[tokio::test]
async fn a_replica_that_stands_still_after_its_commit_updates_the_cache_when_it_runs_again() {
    let servers = Servers::alone();
    const TIMEOUT: Duration = Duration::from_secs(1);
    let times = [
        ("REDIS_ATTEMPT_TIMEOUT", "1s"),
        ("REDIS_TIMEOUT", "1s"),
        ("REQUEST_TIMEOUT", "10s"),
        ("PROBE_INTERVAL", "10s"),
    ];
    let replica = Replica::start_on(&servers, &times);
    let id = create(&replica.url(""), "before").await;
    servers.redis(&["CLIENT", "PAUSE", "60000", "WRITE"]);
    let url = replica.url(&format!("/data/{id}"));
    let written = tokio::spawn(async move { put(&url, "after").await });
    let mut admin = servers.admin().await;
    let version = format!("SELECT version FROM records WHERE id = {id}");
    let committed = Instant::now();
    while sqlx::query_scalar::<_, i64>(AssertSqlSafe(version.clone())).fetch_one(&mut admin).await.expect("it is there")
        == 1
    {
        assert!(committed.elapsed() < PATIENCE, "the write was not done");
    }
    // The time-out passes while the process does not run, and Redis answers when it has been running again for a while.
    replica.signal(Signal::STOP);
    tokio::time::sleep(TIMEOUT + SCHEDULING).await;
    replica.signal(Signal::CONT);
    assert_eq!(get(&replica.url("/livez")).await.status, StatusCode::OK);
    servers.redis(&["CLIENT", "UNPAUSE"]);
    assert_eq!(written.await.expect("an answer").status, StatusCode::OK);
    let writes = |result| format!("cache_writes_total{{result=\"{result}\"}}");
    assert_eq!(metric(&replica.url(""), &writes("failed")).await, 0.0, "Redis missed it");
    assert_eq!(metric(&replica.url(""), &writes("stored")).await, 2.0);
}

#[tokio::test]
async fn a_record_whose_deletion_redis_missed_stays_gone() {
    let (postgres, redis) = Proxy::pair();
    // The writer is permanently cut off from Redis, so it cannot repair anything.
    let writer = Replica::start_behind(&postgres, &redis, &[]);
    let reader = Replica::start_connected(&[("CACHE_FRESH", "300ms")]);
    let id = create(&reader.url(""), "gone").await;
    let url = reader.url(&format!("/data/{id}"));
    redis.set(Mode::Refuse);
    let deleted = send(Client::new().delete(writer.url(&format!("/data/{id}")))).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT, "{deleted:?}");
    // The entry of the POST grows old, and then its replacement answers from the cache.
    get_until(&url, |read| read.status == StatusCode::NOT_FOUND).await;
    let from_cache = get_until(&url, |read| {
        assert_eq!(read.status, StatusCode::NOT_FOUND, "it came back: {read:?}");
        is_hit(read)
    })
    .await;
    assert_eq!(from_cache.problem_code(), "not_found");
}

/// As when a replica was killed between its commit and the cache, and the proxy repeats the request on another one.
#[tokio::test]
async fn a_write_that_finds_its_work_done_ends_what_the_cache_still_says() {
    let (postgres, redis) = Proxy::pair();
    let first = Replica::start_behind(&postgres, &redis, &[]);
    let second = Replica::start_connected(&[]);
    let [deleted, replaced] = [create(&second.url(""), "a").await, create(&second.url(""), "b").await];
    let page = second.url(&format!("/data?limit=2&after={}", deleted - 1));
    for id in [deleted, replaced] {
        get_until(&second.url(&format!("/data/{id}")), is_hit).await;
    }
    get(&page).await;
    redis.set(Mode::Refuse);
    for id in [deleted, replaced] {
        let gone = send(Client::new().delete(first.url(&format!("/data/{id}")))).await;
        assert_eq!(gone.status, StatusCode::NO_CONTENT);
    }
    let again = send(Client::new().delete(second.url(&format!("/data/{deleted}")))).await;
    assert_eq!(again.status, StatusCode::NO_CONTENT);
    assert_eq!(put(&second.url(&format!("/data/{replaced}")), "v").await.status, StatusCode::NOT_FOUND);
    for id in [deleted, replaced] {
        let read = get(&second.url(&format!("/data/{id}"))).await;
        assert_eq!(read.status, StatusCode::NOT_FOUND, "{read:?}");
    }
    let items = get(&page).await.body["items"].clone();
    assert!(items.as_array().is_some_and(|items| items.iter().all(|item| item["id"] != deleted)), "{items}");

    // The same with a keyed POST: its record is on the pages that are read after the second answer.
    let post = |replica: &Replica| {
        let request = Client::new().post(replica.url("/data")).header("idempotency-key", format!("done-{deleted}"));
        send(request.json(&json!({"name": "keyed", "value": "v"})))
    };
    let created = post(&first).await;
    let id = created.body["id"].as_i64().expect("an id");
    let last = second.url(&format!("/data?limit=1&after={}", id - 1));
    assert_eq!(post(&second).await.body, created.body);
    assert_eq!(get(&second.url(&format!("/data/{id}"))).await.status, StatusCode::OK);
    assert_eq!(get(&last).await.body["items"][0]["id"], id);
}

#[tokio::test]
async fn a_failed_precondition_repairs_the_entry_that_led_to_it() {
    let (postgres, redis) = Proxy::pair();
    let writer = Replica::start_behind(&postgres, &redis, &[]);
    let reader = Replica::start_connected(&[]);
    let id = create(&reader.url(""), "repaired").await;
    let path = format!("/data/{id}");
    redis.set(Mode::Refuse);
    assert_eq!(put(&writer.url(&path), "newer").await.status, StatusCode::OK);
    let old = get(&reader.url(&path)).await;
    assert_eq!((old.header("etag"), is_hit(&old)), ("\"1\"", true), "Redis missed it, as documented");
    let conditional = |tag: &str| {
        let request = Client::new().put(reader.url(&path)).header("if-match", tag);
        send(request.json(&json!({"name": "n", "value": "mine"})))
    };
    assert_eq!(conditional("\"1\"").await.status, StatusCode::PRECONDITION_FAILED);
    let seen = get(&reader.url(&path)).await;
    assert_eq!((seen.header("etag"), &seen.body["value"]), ("\"2\"", &json!("newer")), "{seen:?}");
    assert_eq!(conditional(seen.header("etag")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_entry_from_a_future_that_postgres_has_lost_gives_way() {
    let servers = Servers::alone();
    let replica = Replica::start_on(&servers, &[("CACHE_FRESH", "500ms")]);
    let id = create(&replica.url(""), "restored").await;
    let url = replica.url(&format!("/data/{id}"));
    for _ in 0..3 {
        assert_eq!(put(&url, "lost with the backup").await.status, StatusCode::OK);
    }
    let back = format!(
        "SET session_replication_role = replica; UPDATE records SET version = 2, value = 'old' WHERE id = {id}"
    );
    servers.sql(&back).await;
    get_until(&url, |read| read.body["version"] == 2).await;
    let hit = get_until(&url, is_hit).await;
    assert_eq!((&hit.body["version"], &hit.body["value"]), (&json!(2), &json!("old")), "stored, not read each time");
}
