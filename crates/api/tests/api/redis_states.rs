//! A Redis that runs and does not serve: it loads its data, runs a long script, lost its cluster or cannot save
//! (docs/outcomes.md). Each test uses a redis-server in that state.

use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use serde_json::json;

use crate::{
    http::{Answer, create, get, get_until, metric, send},
    proxy::SCHEDULING,
    redis_server::RedisServer,
    replica::Replica,
};

/// The time from the end of the trouble to the first hit.
const RECOVERED: Duration = Duration::from_secs(2);

/// An open breaker would hide the answer of Redis.
const EACH_ASKS: [(&str, &str); 1] = [("BREAKERS", "off")];

fn is_hit(answer: &Answer) -> bool {
    answer.cache_status().starts_with("redis; hit; ttl=")
}

async fn put(url: &str, value: &str) -> Answer {
    send(Client::new().put(url).json(&json!({"name": "n", "value": value}))).await
}

/// Redis answers every look-up with `code`: the reads are served by Postgres, and each says why.
async fn bypassed(redis: &RedisServer, replicas: &[&Replica], path: &str, code: &str) {
    for replica in replicas {
        let away = |read: &Answer| read.cache_status() == "redis; fwd=bypass; detail=away";
        get_until(&replica.url(path), |read| {
            assert_eq!(read.status, StatusCode::OK, "{code}: {read:?}");
            away(read)
        })
        .await;
        for _ in 0..5 {
            let read = get(&replica.url(path)).await;
            assert!(read.status == StatusCode::OK && away(&read), "{code}: {read:?}");
        }
    }
    assert_eq!(redis.say(&["GET", "record:v1:1"]).expect_err("refused"), code, "the state has not changed");
}

/// From now on Redis serves.
async fn hits_again(replicas: &[&Replica], path: &str, code: &str) {
    let back = Instant::now();
    for replica in replicas {
        get_until(&replica.url(path), is_hit).await;
        assert!(back.elapsed() < RECOVERED + SCHEDULING, "{code}: {:?}", back.elapsed());
        get_until(&replica.url("/health"), |health| health.body["status"] == "pass").await;
    }
}

#[tokio::test]
async fn a_redis_that_loads_its_data_is_away_until_it_has_them() {
    let mut redis = RedisServer::start(&[]);
    let replica = redis.replica(&EACH_ASKS);
    get_until(&replica.url("/data/1"), is_hit).await;
    redis.say(&["EVAL", "for n = 1, 3000 do redis.call('SET', 'filler:' .. n, n) end", "0"]).expect("filled");
    // A millisecond for each key, with time for clients in between.
    redis.restart_with(&["--key-load-delay", "1000", "--loading-process-events-interval-bytes", "1024"]);
    redis.say_until(&["GET", "record:v1:1"], |answer| answer.as_ref().is_err_and(|code| code == "LOADING"));
    let started = redis.replica(&EACH_ASKS);
    bypassed(&redis, &[&replica, &started], "/data/1", "LOADING").await;
    redis.say_until(&["GET", "record:v1:1"], Result::is_ok);
    hits_again(&[&replica, &started], "/data/1", "LOADING").await;
}

#[tokio::test]
async fn a_redis_that_is_busy_with_a_script_is_away_until_it_ends() {
    let redis = RedisServer::start(&["--busy-reply-threshold", "1"]);
    let replica = redis.replica(&EACH_ASKS);
    get_until(&replica.url("/data/1"), is_hit).await;
    let mut runs = redis.admin();
    let script = std::thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut runs));
    redis.say_until(&["GET", "record:v1:1"], |answer| answer.as_ref().is_err_and(|code| code == "BUSY"));
    let started = redis.replica(&EACH_ASKS);
    bypassed(&redis, &[&replica, &started], "/data/1", "BUSY").await;
    redis.say(&["SCRIPT", "KILL"]).expect("it has written nothing");
    script.join().expect("no panic").expect_err("it was ended");
    hits_again(&[&replica, &started], "/data/1", "BUSY").await;
}

#[tokio::test]
async fn a_redis_whose_cluster_is_down_is_away_until_it_is_whole() {
    let redis = RedisServer::start(&["--cluster-enabled", "yes"]);
    let slots = |word: &str| redis.say(&["CLUSTER", word, "0", "16383"]).expect("one server has all slots");
    let whole = || redis.say_until(&["GET", "record:v1:1"], Result::is_ok);
    slots("ADDSLOTSRANGE");
    whole();
    let replica = redis.replica(&EACH_ASKS);
    get_until(&replica.url("/data/1"), is_hit).await;
    slots("DELSLOTSRANGE");
    redis.say_until(&["GET", "record:v1:1"], |answer| answer.as_ref().is_err_and(|code| code == "CLUSTERDOWN"));
    let started = redis.replica(&EACH_ASKS);
    bypassed(&redis, &[&replica, &started], "/data/1", "CLUSTERDOWN").await;
    slots("ADDSLOTSRANGE");
    whole();
    hits_again(&[&replica, &started], "/data/1", "CLUSTERDOWN").await;
}

#[tokio::test]
async fn a_redis_that_cannot_save_refuses_writes_and_serves_nothing_old() {
    let redis = RedisServer::start(&["--save", "3600 1"]);
    let replicas = [redis.replica(&[]), redis.replica(&[])];
    let path = format!("/data/{}", create(&replicas[0].url(""), "unsaved").await);
    for replica in &replicas {
        get_until(&replica.url(&path), is_hit).await;
    }
    // A folder cannot be replaced by a file, whatever the user may do.
    std::fs::create_dir(redis.dump()).expect("in the way");
    redis.say(&["BGSAVE"]).expect("begun");
    redis.say_until(&["SET", "probe", "1"], |answer| answer.as_ref().is_err_and(|code| code == "MISCONF"));
    assert_eq!(put(&replicas[0].url(&path), "new").await.status, StatusCode::OK);
    for replica in &replicas {
        for _ in 0..10 {
            let read = get(&replica.url(&path)).await;
            assert_eq!((read.status, &read.body["value"]), (StatusCode::OK, &json!("new")), "{read:?}");
            assert!(!is_hit(&read), "{read:?}");
        }
        let refuses = |health: &Answer| health.body["checks"]["redis:responseTime"][0]["output"] == "read_only";
        let health = get_until(&replica.url("/health"), refuses).await;
        assert_eq!(health.body["status"], "warn", "{health:?}");
        assert_eq!(health.status, StatusCode::OK);
        assert_eq!(metric(&replica.url(""), "dependency_writable{dependency=\"redis\"}").await as i64, 0);
        assert_eq!(metric(&replica.url(""), "dependency_up{dependency=\"redis\"}").await as i64, 1);
        assert_eq!(metric(&replica.url(""), "breaker_state{dependency=\"redis\"}").await as i64, 0);
    }
    std::fs::remove_dir(redis.dump()).expect("out of the way");
    redis.say_until(&["BGSAVE"], Result::is_ok);
    redis.say_until(&["SET", "probe", "1"], Result::is_ok);
    hits_again(&[&replicas[0], &replicas[1]], &path, "MISCONF").await;
    assert_eq!(get(&replicas[1].url(&path)).await.body["value"], "new");
}
