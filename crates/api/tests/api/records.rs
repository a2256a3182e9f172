//! Creating, reading, replacing, deleting; conditions and idempotency.

use reqwest::{Client, StatusCode};
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    http::{Answer, create, get, send},
    replica::{PATIENT, Replica},
};

#[tokio::test]
async fn a_record_lives_from_post_to_delete() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let created = send(client.post(replica.url("/data")).json(&json!({"name": "n", "value": "ü\"\\\u{1}"}))).await;
    assert_eq!(created.status, StatusCode::CREATED);
    let location = created.header("location").to_owned();
    assert_eq!(location, format!("/data/{}", created.body["id"]));
    let url = replica.url(&location);

    let read = get(&url).await;
    assert_eq!((read.status, read.header("etag"), &read.body), (StatusCode::OK, "\"1\"", &created.body));
    let replaced = send(client.put(&url).json(&json!({"name": "m", "value": ""}))).await;
    assert_eq!((replaced.status, replaced.header("etag")), (StatusCode::OK, "\"2\""));
    assert_eq!(get(&url).await.body, replaced.body, "who reads after the answer sees the new version");

    assert_eq!(send(client.delete(&url)).await.status, StatusCode::NO_CONTENT);
    assert_eq!(send(client.delete(&url)).await.status, StatusCode::NO_CONTENT, "already gone");
    let gone = get(&url).await;
    assert_eq!((gone.status, gone.problem_code()), (StatusCode::NOT_FOUND, "not_found"));
    let no_put = send(client.put(&url).json(&json!({"name": "m", "value": ""}))).await;
    assert_eq!(no_put.problem_code(), "not_found");
}

#[tokio::test]
async fn conditions_are_honoured() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let url = replica.url(&format!("/data/{}", create(&replica.url(""), "conditions").await));
    let body = json!({"name": "x", "value": "y"});
    let put = |tag: &str| client.put(&url).header("if-match", tag).json(&body);
    assert_eq!(send(put("\"1\"")).await.status, StatusCode::OK);
    assert_eq!(send(put("\"1\"")).await.status, StatusCode::OK, "a proxy's repeat of what took effect");
    let other = json!({"name": "x", "value": "another"});
    let stale = send(client.put(&url).header("if-match", "\"1\"").json(&other)).await;
    assert_eq!((stale.status, stale.problem_code()), (StatusCode::PRECONDITION_FAILED, "precondition_failed"));
    assert!(stale.body["detail"].as_str().expect("text").contains("version 2"), "{stale:?}");
    assert_eq!(send(put("*")).await.status, StatusCode::OK);
    assert_eq!(send(put("3")).await.problem_code(), "invalid_request", "a tag without quotes is no tag");
    assert_eq!(send(client.delete(&url).header("if-match", "\"2\"")).await.problem_code(), "precondition_failed");

    let not_modified = send(client.get(&url).header("if-none-match", "\"3\"")).await;
    assert_eq!((not_modified.status, not_modified.header("etag")), (StatusCode::NOT_MODIFIED, "\"3\""));
    assert_eq!(send(client.get(&url).header("if-none-match", "\"2\"")).await.status, StatusCode::OK);
    let head = send(client.head(&url)).await;
    assert_eq!((head.status, head.header("etag")), (StatusCode::OK, "\"3\""));
}

#[tokio::test]
async fn a_repeated_post_with_a_key_creates_one_record() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let key = format!("key-{}", replica.address);
    let post = |value: &str| {
        let body = json!({"name": "idempotent", "value": value});
        client.post(replica.url("/data")).header("idempotency-key", &key).json(&body)
    };
    let mut posts = JoinSet::new();
    for _ in 0..8 {
        let request = post("same");
        posts.spawn(async move { send(request).await });
    }
    let answers: Vec<Answer> = posts.join_all().await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.body), (StatusCode::CREATED, &answers[0].body));
        assert_eq!(answer.header("location"), answers[0].header("location"));
    }
    let other = send(post("other")).await;
    assert_eq!((other.status.as_u16(), other.problem_code()), (422, "idempotency_key_reused"));

    let url = replica.url(answers[0].header("location"));
    assert_eq!(send(client.put(&url).json(&json!({"name": "n", "value": "new"}))).await.status, StatusCode::OK);
    assert_eq!(send(post("same")).await.body, answers[0].body, "the first answer again, whatever came since");
    assert_eq!(get(&url).await.body["value"], "new", "and the repeated POST has not touched the cache");
}

#[tokio::test]
async fn a_key_that_is_raced_on_two_replicas_creates_one_record() {
    let replicas = [Replica::start_connected(&PATIENT), Replica::start_connected(&PATIENT)];
    let client = Client::new();
    for round in 0..5 {
        let key = format!("raced-{}-{round}", replicas[0].address);
        let post = |replica: &Replica, value: &str| {
            let body = json!({"name": "raced", "value": value});
            client.post(replica.url("/data")).header("idempotency-key", &key).json(&body)
        };
        let mut posts = JoinSet::new();
        for number in 0..8 {
            let request = post(&replicas[number % 2], "same");
            posts.spawn(async move { send(request).await });
        }
        let answers: Vec<Answer> = posts.join_all().await;
        for answer in &answers {
            assert_eq!((answer.status, &answer.body), (StatusCode::CREATED, &answers[0].body), "round {round}");
        }
        for replica in &replicas {
            assert_eq!(send(post(replica, "other")).await.problem_code(), "idempotency_key_reused", "round {round}");
            assert_eq!(send(post(replica, "same")).await.body, answers[0].body, "round {round}");
        }
        let after = answers[0].body["id"].as_i64().expect("an id");
        let page = get(&replicas[round % 2].url(&format!("/data?limit=200&after={after}"))).await;
        let same = page.body["items"]
            .as_array()
            .expect("items")
            .iter()
            .filter(|item| item["name"] == "raced" && item["id"] != after);
        assert_eq!(same.count(), 0, "round {round}: no second record");
    }
}

#[tokio::test]
async fn pages_walk_over_all_records_once() {
    let replica = Replica::start_connected(&PATIENT);
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = get(&replica.url(&format!("/data?limit=200&after={after}"))).await;
        let items = page.body["items"].as_array().expect("items").clone();
        seen.extend(items.iter().map(|item| item["id"].as_i64().expect("an id")));
        match page.body["next"].as_i64() {
            Some(next) => after = next,
            None => break,
        }
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "in the order of ids, each once");
    let demo: Vec<i64> = seen.iter().copied().filter(|id| *id <= 1_000).collect();
    assert_eq!(demo, (1..=1_000).collect::<Vec<_>>(), "the demo records are all there");
    assert_eq!(get(&replica.url("/data")).await.body["items"].as_array().map(Vec::len), Some(50));
    let beyond = get(&replica.url(&format!("/data?after={}", i64::MAX))).await;
    assert_eq!(beyond.body, json!({"items": [], "next": null}));
}
