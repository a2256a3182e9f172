//! Answers to requests that were not read completely, and to invalid heads.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use reqwest::Client;
use serde_json::Value;

use crate::{
    http::{connect, get, get_until, metric, read_to_end, send},
    replica::{PATIENT, Replica},
};

/// A POST with this length, of which only the first bytes are sent.
fn begun(headers: &str, length: &str) -> Vec<u8> {
    format!("POST /data HTTP/1.1\r\nHost: x\r\n{headers}{length}\r\n{{").into_bytes()
}

fn ask(address: SocketAddr, bytes: &[u8]) -> (TcpStream, String) {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("sent");
    let answer = read_to_end(&mut stream);
    (stream, answer)
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    head.lines()
        .find_map(|line| line.split_once(": ").filter(|(given, _)| given.eq_ignore_ascii_case(name)))
        .map(|(_, value)| value)
}

const JSON: &str = "Content-Type: application/json\r\n";

#[test]
fn a_refusal_before_the_body_was_read_says_that_it_closes_and_arrives() {
    let replica = Replica::start_connected(&PATIENT);
    let gzip = format!("{JSON}Content-Encoding: gzip\r\n");
    let latin = "Content-Type: application/json; charset=latin1\r\n";
    for (headers, length, status) in [
        ("Content-Type: text/plain\r\n", "Content-Length: 100\r\n", 415),
        (latin, "Content-Length: 100\r\n", 415),
        (&gzip, "Transfer-Encoding: chunked\r\n", 415),
        (JSON, "Content-Length: 131073\r\n", 413),
        (JSON, "Content-Length: 9223372036854775807\r\n", 413),
        ("If-Match: 1\r\n", "Content-Length: 100\r\n", 400),
    ] {
        let (_stream, answer) = ask(replica.address, &begun(headers, length));
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers}{length}: {answer}");
        assert_eq!(header(&answer, "connection"), Some("close"), "{headers}{length}: {answer}");
    }
    let (_stream, answer) = ask(replica.address, &begun(&gzip, "Content-Length: 100\r\n"));
    assert_eq!((header(&answer, "accept"), header(&answer, "accept-encoding")), (None, Some("identity")), "{answer}");
    let (_stream, answer) = ask(replica.address, &begun(latin, "Content-Length: 100\r\n"));
    assert_eq!(header(&answer, "accept"), Some("application/json"), "{answer}");
}

/// The kernel would reset the connection at the client's next bytes, and the client could lose the answer.
#[test]
fn a_client_that_sends_all_of_its_large_body_first_gets_the_refusal_too() {
    let replica = Replica::start_connected(&PATIENT);
    let length = 20 << 20;
    let mut request = begun(JSON, &format!("Content-Length: {length}\r\n"));
    request.resize(request.len() + length - 1, b' ');
    for _ in 0..5 {
        let mut stream = connect(replica.address);
        stream.write_all(&request).expect("nobody hangs up on a client that is still sending");
        let answer = read_to_end(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("payload_too_large"), "{answer}");
    }
}

#[test]
fn a_client_that_asks_first_is_told_and_sends_nothing() {
    let replica = Replica::start_connected(&PATIENT);
    let head = "POST /data HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n";
    let (_stream, answer) = ask(replica.address, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 415 ") && header(&answer, "connection") == Some("close"), "{answer}");
}

/// A body that has arrived with its head never costs the connection, whatever the answer.
#[test]
fn a_body_that_is_there_does_not_end_the_connection() {
    let replica = Replica::start_connected(&PATIENT);
    let mut stream = connect(replica.address);
    let body = " ".repeat(20_000);
    for (line, headers, status) in [
        ("POST /data", "Content-Type: text/plain\r\n", 415),
        ("POST /nope", JSON, 404),
        ("PATCH /data", JSON, 405),
        ("GET /livez", "", 200),
        ("DELETE /data/9000000000", "", 204),
        ("POST /data", JSON, 400),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).expect("sent");
        let answer = read_one(&mut stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{line}: {answer}");
        assert_eq!(header(&answer, "connection"), None, "{line}: {answer}");
    }
}

/// One answer with a length, or without a body.
fn read_one(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&answer)));
        answer.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&answer).into_owned();
    let mut body = vec![0; header(&head, "content-length").map_or(0, |length| length.parse().expect("a length"))];
    stream.read_exact(&mut body).expect("the body");
    head + &String::from_utf8_lossy(&body)
}

/// Heads that never become a request are counted and logged like all others, with the right code.
#[tokio::test]
async fn a_head_that_cannot_be_read_is_answered_counted_and_logged() {
    let replica = Replica::start_connected(&[("HEADER_TIMEOUT", "300ms")]);
    let long = format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(80_000));
    let many = format!("GET /livez HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(200));
    let cases: [(&str, &[u8], u16, &str); 8] = [
        ("not HTTP", b"\x16\x03\x01\x02\x00\r\n\r\n", 400, "invalid_request"),
        ("no version", b"GET /livez\r\n\r\n", 400, "invalid_request"),
        ("a space in a name", b"GET /livez HTTP/1.1\r\nHo st: x\r\n\r\n", 400, "invalid_request"),
        (
            "two lengths",
            b"POST /data HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            400,
            "invalid_request",
        ),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "invalid_request"),
        ("a long head", long.as_bytes(), 431, "headers_too_large"),
        ("many fields", many.as_bytes(), 431, "headers_too_large"),
        ("half a head", b"GET /livez HTTP/1.1\r\nHost:", 408, "request_timeout"),
    ];
    for (name, bytes, status, code) in cases {
        let series = format!(
            "http_requests_total{{code=\"{code}\",http_request_method=\"_OTHER\",http_response_status_code=\"{status}\",http_route=\"_unmatched\"}}"
        );
        let before = metric(&replica.url(""), &series).await;
        let lines = replica.log_lines().iter().filter(|line| is_of_head(line, status, code)).count();
        let (address, bytes) = (replica.address, bytes.to_vec());
        let (_, answer) = tokio::task::spawn_blocking(move || ask(address, &bytes)).await.expect("asked");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(header(&answer, "connection"), Some("close"), "{name}: {answer}");
        get_until(&replica.url("/metrics"), |metrics| {
            metrics.body.as_str().is_some_and(|text| text.contains(&format!("{series} {}\n", before + 1.0)))
        })
        .await;
        replica.wait_for_log_lines(lines + 1, |line| is_of_head(line, status, code));
    }
    // The answer to an incomplete head comes from this service.
    let address = replica.address;
    let half = b"GET /data HTTP/1.1\r\n";
    let (_, answer) = tokio::task::spawn_blocking(move || ask(address, half)).await.expect("asked");
    assert_eq!(header(&answer, "content-type"), Some("application/problem+json"), "{answer}");
    assert!(header(&answer, "date").is_some_and(|date| date.ends_with(" GMT")), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
    assert_eq!(header(&answer, "x-request-id"), body["request_id"].as_str(), "{answer}");
    assert_eq!(body["type"], "/problems/request_timeout");
}

fn is_of_head(line: &Value, status: u16, code: &str) -> bool {
    line["message"] == "request"
        && line["method"] == ""
        && line["path"] == ""
        && line["status"] == status
        && line["code"] == code
}

#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let replica = Replica::start_connected(&[("HEADER_TIMEOUT", "200ms")]);
    let address = replica.address;
    let (never, once) = tokio::task::spawn_blocking(move || {
        (ask(address, b"").1, ask(address, b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").1)
    })
    .await
    .expect("asked");
    assert_eq!(never, "");
    assert!(once.starts_with("HTTP/1.1 200 ") && once.ends_with("live\n"), "{once}");
    let refused = "http_requests_total{code=\"request_timeout\",http_request_method=\"_OTHER\"";
    let metrics = get(&replica.url("/metrics")).await;
    assert!(!metrics.body.as_str().expect("text").contains(refused), "silence is no refusal");
}

#[tokio::test]
async fn a_detail_quotes_little_of_what_was_sent() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let (word, long_target) = ("x".repeat(100_000), "y".repeat(3_900));
    let field = format!("{{\"{word}\":1}}");
    let post = |body: String| client.post(replica.url("/data")).header("content-type", "application/json").body(body);
    for request in [
        post(field),
        post(format!("\"{word}\"")),
        post("[".repeat(100_000)),
        client.get(replica.url(&format!("/data?{long_target}=1"))),
        client.get(replica.url(&format!("/data?limit={long_target}"))),
        client.get(replica.url(&format!("/data/{long_target}"))),
        client.get(replica.url(&format!("/problems/{long_target}"))),
        client.get(replica.url("/data/1")).header("if-match", long_target.as_str()),
        post("{}".to_owned()).header("idempotency-key", long_target.as_str()),
    ] {
        let answer = send(request).await;
        // Its length is checked with its code.
        assert!(["invalid_request", "not_found"].contains(&answer.problem_code()), "{answer:?}");
    }
}
