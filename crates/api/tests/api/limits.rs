//! Requests in flight, requests per second, slow clients.

use std::{
    collections::BTreeSet,
    io::Write,
    net::{Shutdown, TcpStream},
    time::{Duration, Instant},
};

use crate::{
    http::{connect, get, read_to_end},
    replica::{PATIENCE, Replica},
};

/// Opens a POST whose body never arrives: it holds a place until its body times out.
fn slow_post(replica: &Replica) -> TcpStream {
    let mut stream = connect(replica.address);
    let head = "POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{";
    stream.write_all(head.as_bytes()).expect("the head is sent");
    stream
}

async fn in_flight(replica: &Replica) -> String {
    let metrics = get(&replica.url("/metrics")).await;
    let text = metrics.body.as_str().expect("text").to_owned();
    text.lines().find_map(|line| line.strip_prefix("admission_in_flight ")).expect("the metric").to_owned()
}

async fn wait_in_flight(replica: &Replica, wanted: &str) {
    let give_up = Instant::now() + PATIENCE;
    while in_flight(replica).await != wanted {
        assert!(Instant::now() < give_up, "{} in flight", in_flight(replica).await);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_request_over_the_limit_is_refused_at_once_and_on_every_route_of_data() {
    let replica = Replica::start_connected(&[("CONCURRENCY_LIMIT", "3"), ("BODY_TIMEOUT", "1m")]);
    let slow: Vec<TcpStream> = (0..3).map(|_| slow_post(&replica)).collect();
    wait_in_flight(&replica, "3").await;
    for path in ["/data/1", "/data"] {
        let shed = get(&replica.url(path)).await;
        assert_eq!((shed.status.as_u16(), shed.problem_code()), (503, "overloaded"));
    }
    for path in ["/health", "/livez", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(get(&replica.url(path)).await.status.as_u16(), 200, "{path} answers at any load");
    }
    // A client that disconnects frees its place.
    drop(slow);
    wait_in_flight(&replica, "0").await;
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
    let metrics = get(&replica.url("/metrics")).await.body.as_str().expect("text").to_owned();
    assert!(metrics.contains("requests_shed_total{reason=\"overloaded\"} 2"), "{metrics}");
    assert!(
        metrics.contains("http_requests_total{code=\"overloaded\",http_request_method=\"GET\",http_response_status_code=\"503\",http_route=\"/data\"} 1"),
        "{metrics}"
    );
    replica.wait_for_log(|line| line["code"] == "client_closed" && line["status"] == 499);
}

#[tokio::test]
async fn a_body_slower_than_its_deadline_gets_408_and_frees_its_place() {
    let replica = Replica::start_connected(&[("CONCURRENCY_LIMIT", "1"), ("BODY_TIMEOUT", "200ms")]);
    let mut slow = slow_post(&replica);
    let answer = read_to_end(&mut slow);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"code\":\"request_timeout\""), "{answer}");
    wait_in_flight(&replica, "0").await;
}

#[tokio::test]
async fn connections_over_the_limit_wait_instead_of_being_served() {
    let replica = Replica::start(&[("MAX_CONNECTIONS", "1"), ("HEADER_TIMEOUT", "1m")]);
    let first = connect(replica.address);
    let mut second = connect(replica.address);
    second.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("sent");
    second.set_read_timeout(Some(Duration::from_millis(200))).expect("a time-out");
    assert_eq!(read_to_end(&mut second), "", "no answer while the first one is there");
    first.shutdown(Shutdown::Both).expect("closed");
    second.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    assert!(read_to_end(&mut second).contains("live"));
}

#[tokio::test]
async fn more_requests_per_second_than_allowed_get_429() {
    let replica = Replica::start_connected(&[("MAX_RPS", "1")]);
    assert_eq!(get(&replica.url("/data/1")).await.status.as_u16(), 200);
    let limited = get(&replica.url("/data/1")).await;
    assert_eq!((limited.status.as_u16(), limited.problem_code()), (429, "rate_limited"));
    assert_eq!(get(&replica.url("/livez")).await.status.as_u16(), 200, "only /data counts");
}

/// Clients that were refused together get different retry times.
#[tokio::test]
async fn refused_clients_are_told_different_times() {
    let replica = Replica::start_connected(&[("CONCURRENCY_LIMIT", "1"), ("BODY_TIMEOUT", "1m")]);
    let _slow = slow_post(&replica);
    wait_in_flight(&replica, "1").await;
    let mut times = BTreeSet::new();
    for _ in 0..40 {
        let shed = get(&replica.url("/data/1")).await;
        assert_eq!(shed.problem_code(), "overloaded");
        times.insert(shed.header("retry-after").to_owned());
    }
    assert_eq!(times, BTreeSet::from(["1", "2", "3"].map(str::to_owned)));
}
