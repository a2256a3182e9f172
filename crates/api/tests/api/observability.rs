//! The metrics, compared with the client's observations; and the trace of one request.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    time::Duration,
};

use reqwest::{Client, Method, StatusCode};
use tokio::task::JoinSet;

use crate::{
    http::{Answer, connect, create, get, get_until, metric, send},
    proxy::{Mode, Proxy},
    replica::Replica,
};

/// No other test requests these.
const MISSING: i64 = 8_000_000_000;

/// Where the counts below come from: each replica gets the same requests.
const REPLICAS: usize = 3;
const HITS: usize = 7;
const MISSES: usize = 5;
const BYPASSES: usize = 4;
/// One each: the next would find no connection left, and time out connecting.
const TIMEOUTS: usize = 1;
const SHEDS: usize = 3;

/// Sums one series over the replicas.
async fn sum(replicas: &[Replica], series: &str) -> usize {
    let mut sum = 0.0;
    for replica in replicas {
        sum += metric(&replica.url(""), series).await;
    }
    sum as usize
}

fn request_series(method: &str, route: &str, status: u16, code: &str) -> String {
    format!(
        "http_requests_total{{code=\"{code}\",http_request_method=\"{method}\",\
         http_response_status_code=\"{status}\",http_route=\"{route}\"}}"
    )
}

/// Opens a POST whose body never comes: it holds a place.
fn slow_post(replica: &Replica) -> std::net::TcpStream {
    let mut stream = connect(replica.address);
    let head = "POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("the head is sent");
    stream
}

#[tokio::test]
async fn hits_misses_bypasses_sheds_timeouts_and_5xx_are_counted_exactly_over_all_replicas() {
    let (postgres, redis) = Proxy::pair();
    let variables = [
        ("CACHE_FRESH", "10m"),
        // Every request reaches the dependency, so that each result is known in advance.
        ("BREAKERS", "off"),
        ("REDIS_ATTEMPTS", "1"),
        ("CONCURRENCY_LIMIT", "2"),
        ("BODY_TIMEOUT", "1m"),
        // A busy machine must not add time-outs of its own to the known ones.
        ("REDIS_ATTEMPT_TIMEOUT", "2s"),
        ("REDIS_TIMEOUT", "2s"),
        ("DB_ACQUIRE_TIMEOUT", "1s"),
        ("DB_STATEMENT_TIMEOUT", "1s"),
        ("REQUEST_TIMEOUT", "6s"),
    ];
    let replicas: Vec<Replica> = (0..REPLICAS).map(|_| Replica::start_behind(&postgres, &redis, &variables)).collect();
    let id = create(&replicas[0].url(""), "counted").await;
    let mut next = MISSING;
    let mut fresh_id = || {
        next += 1;
        next
    };

    for replica in &replicas {
        for _ in 0..HITS {
            let hit = get(&replica.url(&format!("/data/{id}"))).await;
            assert!(hit.cache_status().starts_with("redis; hit; ttl="), "{hit:?}");
        }
        for _ in 0..MISSES {
            let miss = get(&replica.url(&format!("/data/{}", fresh_id()))).await;
            assert_eq!((miss.status, miss.cache_status()), (StatusCode::NOT_FOUND, "redis; fwd=uri-miss; stored"));
        }
        let slow = [slow_post(replica), slow_post(replica)];
        get_until(&replica.url("/metrics"), |metrics| in_flight(metrics, 2)).await;
        for _ in 0..SHEDS {
            assert_eq!(get(&replica.url("/data")).await.problem_code(), "overloaded");
        }
        drop(slow);
        get_until(&replica.url("/metrics"), |metrics| in_flight(metrics, 0)).await;
    }
    redis.set(Mode::Refuse);
    for replica in &replicas {
        for _ in 0..BYPASSES {
            let bypass = get(&replica.url(&format!("/data/{id}"))).await;
            assert_eq!(bypass.status, StatusCode::OK);
            assert!(bypass.cache_status().starts_with("redis; fwd=bypass"), "{bypass:?}");
        }
    }
    // Seen down before it is up again: then "pass" means that the cache is read.
    for replica in &replicas {
        get_until(&replica.url("/health"), |health| health.body["status"] == "warn").await;
    }
    redis.set(Mode::Pass);
    for replica in &replicas {
        get_until(&replica.url("/health"), |health| health.body["status"] == "pass").await;
    }
    postgres.set(Mode::Silent);
    let mut reads = JoinSet::new();
    for replica in &replicas {
        for _ in 0..TIMEOUTS {
            let url = replica.url(&format!("/data/{}", fresh_id()));
            reads.spawn(async move { get(&url).await });
        }
    }
    for timeout in reads.join_all().await {
        assert_eq!(timeout.problem_code(), "database_timeout", "{timeout:?}");
    }

    let get_record = |status, code| request_series("GET", "/data/{id}", status, code);
    for (what, series, each) in [
        ("hits", "cache_requests_total{result=\"hit\"}".to_owned(), HITS),
        // The reads that then timed out had missed, too.
        ("misses", "cache_requests_total{result=\"miss\"}".to_owned(), MISSES + TIMEOUTS),
        ("bypasses", "cache_requests_total{result=\"bypass\"}".to_owned(), BYPASSES),
        ("sheds", "requests_shed_total{reason=\"overloaded\"}".to_owned(), SHEDS),
        ("200", get_record(200, ""), HITS + BYPASSES),
        ("404", get_record(404, "not_found"), MISSES),
        ("timeouts", get_record(503, "database_timeout"), TIMEOUTS),
        ("shed answers", request_series("GET", "/data", 503, "overloaded"), SHEDS),
        ("clients that hung up", request_series("POST", "/data", 499, "client_closed"), 2),
        (
            "timed-out calls",
            "dependency_request_duration_seconds_count{dependency=\"postgres\",outcome=\"timeout\"}".to_owned(),
            TIMEOUTS,
        ),
        (
            "measured answers",
            "http_server_request_duration_seconds_count{http_request_method=\"GET\",\
             http_response_status_code=\"503\",http_route=\"/data/{id}\"}"
                .to_owned(),
            TIMEOUTS,
        ),
    ] {
        assert_eq!(sum(&replicas, &series).await, each * REPLICAS, "{what}: {series}");
    }
}

fn in_flight(metrics: &Answer, wanted: usize) -> bool {
    metrics.body.as_str().is_some_and(|text| text.contains(&format!("\nadmission_in_flight {wanted}\n")))
}

/// Names with labels, without values.
async fn series(replica: &Replica) -> BTreeSet<String> {
    let metrics = get(&replica.url("/metrics")).await;
    let text = metrics.body.as_str().expect("text").to_owned();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

async fn scan(client: Client, replica: String, number: usize) {
    let method = Method::from_bytes(format!("SCAN{number}").as_bytes()).expect("a token");
    let path = format!("{replica}/scan/{number}%22%7D,evil%7Ba=%22{number}");
    let text = format!("x{number}\"}} evil{{a=\"b\"}} 1");
    let request = client.request(method, path).header(format!("x-scan-{number}"), &text);
    let request = request.header("x-request-id", &text).header("traceparent", &text).header("x-instance", &text);
    assert_eq!(send(request).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_scanner_with_10_000_paths_methods_and_headers_adds_no_series() {
    let replica = Replica::start_connected(&[("ACCESS_LOG", "off")]);
    let client = Client::new();
    // The one series that unknown methods on unknown paths share.
    scan(client.clone(), replica.url(""), 0).await;
    get(&replica.url("/metrics")).await;
    let before = series(&replica).await;
    let mut scanners = JoinSet::new();
    for scanner in 0..8 {
        let (client, url) = (client.clone(), replica.url(""));
        scanners.spawn(async move {
            for number in 0..1_250 {
                scan(client.clone(), url.clone(), scanner * 1_250 + number + 1).await;
            }
        });
    }
    scanners.join_all().await;
    assert_eq!(series(&replica).await, before);
    let counted = metric(&replica.url(""), &request_series("_OTHER", "_unmatched", 404, "not_found")).await;
    assert_eq!(counted as usize, 10_001);
}

#[tokio::test]
async fn scrapes_that_are_cut_or_not_read_hold_nothing_up() {
    let replica = Replica::start_connected(&[]);
    let mut held = Vec::new();
    for cut in 0..40 {
        let mut stream = connect(replica.address);
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        if cut % 2 == 0 {
            let mut first = [0; 64];
            assert!(stream.read(&mut first).is_ok_and(|read| read > 0));
        } else {
            held.push(stream);
        }
    }
    let begin = std::time::Instant::now();
    assert_eq!(get(&replica.url("/metrics")).await.status, StatusCode::OK);
    assert_eq!(get(&replica.url("/data/1")).await.status, StatusCode::OK);
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_scraper_that_knows_only_addresses_can_have_the_name_on_every_series() {
    let replica = Replica::start_connected(&[]);
    let metrics = get(&replica.url("/metrics?labels=instance")).await;
    let text = metrics.body.as_str().expect("text");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert_eq!(line.matches("instance=\"api-under-test\"").count(), 1, "{line}");
    }
    let plain = series(&replica).await;
    assert!(plain.iter().all(|line| line.starts_with("build_info") || !line.contains("instance=")), "{plain:?}");
}

#[tokio::test]
async fn a_trace_goes_through_the_answer_the_log_and_the_problem() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let replica = Replica::start_connected(&[]);
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let answer = send(Client::new().get(replica.url("/data/0")).header("traceparent", &parent)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(answer.body["trace_id"], TRACE);
    let own = answer.header("traceparent");
    assert!(own.starts_with(&format!("00-{TRACE}-")) && own.ends_with("-01") && own != parent, "{own}");
    let line = replica.wait_for_log(|line| line["trace_id"] == TRACE);
    assert_eq!((line["message"].as_str(), line["code"].as_str()), (Some("request"), Some("invalid_request")));

    for parent in ["00-evil", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "\"} 1"] {
        let answer = send(Client::new().get(replica.url("/nope")).header("traceparent", parent)).await;
        // One number to look for: without ids from outside the request id is the trace id.
        assert_eq!(answer.body["trace_id"], answer.header("x-request-id"), "{parent}: {answer:?}");
        assert_eq!(answer.header("traceparent").len(), 55, "{parent}: {answer:?}");
    }
}
