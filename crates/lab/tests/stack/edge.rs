//! nginx's share of the promises: a replica that crashes, hangs, leaves or refuses is no client's trouble.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Answer, Load, Request},
    support::{Place, wait_for_answer, wait_until},
};

const CLIENTS: usize = 6;
/// Of each client, between two requests: 200 requests per second in all at most, which leaves a busy machine room.
const PAUSE: Duration = Duration::from_millis(30);

/// nginx's `proxy_read_timeout`: how long it waits for a replica that hangs.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// nginx's `fail_timeout`: for how long it then leaves that replica alone.
const FAIL_TIMEOUT: Duration = Duration::from_secs(3);
/// What a client waits for at most, after `READ_TIMEOUT` and another replica's answer of 300 ms.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

#[test]
fn no_client_notices_that_replicas_crash() {
    let place = Place::new();
    let base = warm(&place, &[]);
    let load = reads(&base);
    for replica in ["api-2", "api-1", "api-3"] {
        wait_until_serving(&base, replica);
        place.ok(&["fault", "kill", replica]);
        place.ok(&["heal", replica]);
        wait_until_serving(&base, replica);
    }
    let answers = load.stop();
    assert_all(200, &answers);
    for replica in ["api-1", "api-2", "api-3"] {
        assert!(answers.iter().any(|answer| answer.instance() == replica), "{replica} had a share");
    }
}

#[test]
fn a_paused_replica_costs_a_client_one_bounded_wait_and_is_then_left_alone() {
    let place = Place::new();
    let base = warm(&place, &[]);
    let load = reads(&base);
    place.ok(&["fault", "pause", "api-2"]);
    let paused = Instant::now();
    // Not a wait for something: the time over which the waits are counted, two times out and one look in between.
    thread::sleep(READ_TIMEOUT + 2 * FAIL_TIMEOUT);
    let looked = paused.elapsed();
    place.ok(&["heal"]);
    wait_until_serving(&base, "api-2");
    let answers = load.stop();

    assert_all(200, &answers);
    let slow = answers.iter().filter(|answer| answer.took > READ_TIMEOUT.mul_f64(0.9)).count();
    let windows = looked.as_millis().div_ceil(FAIL_TIMEOUT.as_millis()) as usize;
    assert!(slow > 0, "the pause was noticed");
    // All clients may meet it at the same moment; after that nginx looks with one request at a time. Two for the noise.
    assert!(slow <= CLIENTS + windows + 2, "{slow} slow answers in {looked:?}");
    let longest = answers.iter().map(|answer| answer.took).max().unwrap();
    assert!(longest < CLIENT_TIMEOUT, "{longest:?}");
    let fast = answers.iter().filter(|answer| answer.took < READ_TIMEOUT / 3).count();
    assert!(fast * 10 > answers.len() * 9, "{fast} of {} were fast", answers.len());
}

#[test]
fn a_rolling_restart_fails_no_read_and_no_write() {
    let place = Place::new();
    let base = warm(&place, &[]);
    let load = reads(&base);
    let url = format!("{base}/data");
    let run = std::process::id();
    let writes = Load::start(CLIENTS, PAUSE, move |client, number| {
        Request::new("POST", url.clone())
            .header("Idempotency-Key", format!("rolling-{run}-{client}-{number}"))
            .record(&format!("client {client}"), &format!("request {number}"))
    });
    for replica in ["api-1", "api-2", "api-3"] {
        wait_until_serving(&base, replica);
        let stopped = place.ok(&["fault", "stop", replica]);
        assert!(stopped.starts_with(&format!("{replica}: stopped")), "{stopped}");
        place.ok(&["heal", replica]);
        wait_until_serving(&base, replica);
    }
    let (reads, writes) = (load.stop(), writes.stop());
    assert_all(200, &reads);
    assert_all(201, &writes);
    let mut ids: Vec<i64> = writes.iter().map(|answer| answer.json()["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), writes.len(), "each POST made a record of its own");
}

#[test]
fn what_one_replica_sheds_is_not_tried_on_the_others() {
    let place = Place::new();
    // The smallest limit of nginx is one request more than the replicas' own, so some are refused here and some there.
    let base = warm(&place, &["--env", "CONCURRENCY_LIMIT=1"]);
    let url = base.clone();
    // Pages that nobody has asked for before: each is a read of Postgres, so places are taken.
    let load = Load::start(32, Duration::ZERO, move |client, number| {
        Request::get(format!("{url}/data?limit=200&after={}", client as u64 * 10_000 + number))
    });
    wait_until("replicas that refuse", || shed(&place) > 100.0);
    let answers = load.stop();
    let refused: Vec<&Answer> = answers.iter().filter(|answer| answer.status != 200).collect();
    for answer in &refused {
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    }
    let by_replicas = refused.iter().filter(|answer| answer.instance().starts_with("api-")).count();
    assert_eq!(shed(&place), by_replicas as f64, "each refusal of a replica reached a client");
}

#[test]
fn nginx_refuses_at_once_what_would_wait_behind_the_requests_that_the_replicas_admit() {
    const LIMIT: usize = 10;
    let place = Place::new();
    let base = warm(&place, &["--env", &format!("CONCURRENCY_LIMIT={LIMIT}")]);
    let all = ["api-1", "api-2", "api-3"];
    all.iter().for_each(|replica| drop(place.ok(&["fault", "pause", replica])));
    let url = format!("{base}/data/1");
    // Each client has one request under way, and a paused replica answers none of them.
    let load = Load::start(6 * LIMIT, Duration::ZERO, move |_, _| Request::get(url.clone()));
    // Not a wait for something: shorter than nginx waits for a replica, so that it still counts all of them as running.
    thread::sleep(READ_TIMEOUT / 2);
    place.ok(&["heal"]);
    let answers = load.stop();
    // Those that nginx gave up after it had waited for paused replicas are answered 502 or 504, and later.
    let at_once = |answer: &&Answer| answer.instance() == "nginx" && answer.took < READ_TIMEOUT / 2;
    let refused: Vec<&Answer> = answers.iter().filter(at_once).collect();
    assert!(!refused.is_empty(), "60 clients, and 30 requests at a time");
    for answer in &refused {
        assert_eq!((answer.status, answer.code().as_str()), (503, "overloaded"), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{answer:?}");
    }
    wait_for_answer(&format!("{base}/data/1"));
}

#[test]
fn nginx_speaks_like_the_api_where_it_answers_itself() {
    let place = Place::new();
    let base = warm(&place, &[]);
    let ask = |path: &str| Request::get(format!("{base}{path}")).header("X-Request-Id", "asked-by.a_test-1").send();
    let assert_problem = |answer: &Answer, status: u16, code: &str| {
        assert_eq!((answer.status, answer.code().as_str()), (status, code), "{answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
        assert_eq!(answer.header("x-request-id"), Some("asked-by.a_test-1"), "{answer:?}");
        let problem = answer.json();
        assert_eq!(problem["request_id"], "asked-by.a_test-1", "{answer:?}");
        assert_eq!(problem["status"], status, "{answer:?}");
    };

    let answer = ask("/data/1");
    assert_eq!((answer.status, answer.header("x-request-id")), (200, Some("asked-by.a_test-1")), "{answer:?}");
    assert!(answer.instance().starts_with("api-"), "{answer:?}");
    let answer = Request::get(format!("{base}/data/1")).header("X-Request-Id", "not { sane }").send();
    assert!(answer.header("x-request-id").is_some_and(|id| !id.is_empty() && !id.contains('{')), "{answer:?}");

    let answer = ask("/metrics");
    assert_problem(&answer, 403, "forbidden");
    assert_eq!(answer.instance(), "nginx", "{answer:?}");

    let all = ["api-1", "api-2", "api-3"];
    all.iter().for_each(|replica| drop(place.ok(&["fault", "pause", replica])));
    let answer = ask("/data/1");
    assert_problem(&answer, 504, "gateway_timeout");
    // It waits for one replica, asks another and waits for that one.
    assert!(answer.took < 2 * READ_TIMEOUT + Duration::from_secs(2), "{answer:?}");
    place.ok(&["heal"]);
    wait_for_answer(&format!("{base}/data/1"));

    all.iter().for_each(|replica| drop(place.ok(&["fault", "stop", replica])));
    let answer = ask("/data/1");
    assert_problem(&answer, 502, "bad_gateway");
    assert!(answer.took < READ_TIMEOUT, "a refused connection costs nothing: {answer:?}");
    place.ok(&["heal"]);
    all.iter().for_each(|replica| wait_until_serving(&base, replica));
}

/// Three replicas, with the records that [`reads`] asks for in the cache. The address of nginx. What is seen here is
/// nginx's doing: no replica gives up because Redis or Postgres is slow on a busy machine.
fn warm(place: &Place, more: &[&str]) -> String {
    let base = place.up(&[&["--replicas", "3", "--env", "TIMEOUTS=off"], more].concat()).base_url;
    (1..=RECORDS).for_each(|id| wait_for_answer(&format!("{base}/data/{id}")));
    base
}

const RECORDS: u64 = 5;

/// A steady light load of GETs.
fn reads(base: &str) -> Load {
    let base = base.to_owned();
    Load::start(CLIENTS, PAUSE, move |_, number| Request::get(format!("{base}/data/{}", number % RECORDS + 1)))
}

fn wait_until_serving(base: &str, replica: &str) {
    let url = format!("{base}/data/1");
    wait_until(&format!("an answer of {replica}"), || Request::get(url.clone()).send().instance() == replica);
}

fn assert_all(status: u16, answers: &[Answer]) {
    let failed: Vec<&Answer> = answers.iter().filter(|answer| answer.status != status).collect();
    assert!(failed.is_empty(), "{} of {} failed: {failed:#?}", failed.len(), answers.len());
    assert!(answers.len() > 100, "a load: {}", answers.len());
}

/// How many requests all replicas have refused.
fn shed(place: &Place) -> f64 {
    let of = |url: &str| -> f64 {
        let answer = Request::get(format!("{url}/metrics")).send();
        assert_eq!(answer.status, 200, "{answer:?}");
        let samples = answer.body.lines().filter(|line| line.starts_with("requests_shed_total{"));
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    place.status().replicas.iter().map(|replica| of(&replica.url)).sum()
}
