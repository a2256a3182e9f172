//! Conditional requests (RFC 9110, 13) over two replicas, as a client sees them.

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::json;

use crate::{
    http::{Answer, create, get, raw, send},
    replica::{PATIENT, Replica},
};

/// No test makes so many records.
const MISSING: &str = "/data/9000000000";

/// Header lines: name and value.
type Lines<'a> = &'a [(&'a str, &'a [u8])];

fn write(client: &Client, method: &Method, url: &str) -> RequestBuilder {
    let request = client.request(method.clone(), url);
    if *method == Method::DELETE { request } else { request.json(&json!({"name": "conditional", "value": "new"})) }
}

fn with(request: RequestBuilder, lines: Lines) -> RequestBuilder {
    let header = |line: &[u8]| reqwest::header::HeaderValue::from_bytes(line).expect("a header value");
    lines.iter().fold(request, |request, (name, line)| request.header(*name, header(line)))
}

fn said(answer: &Answer) -> (u16, &str) {
    if answer.status.is_success() || answer.status == StatusCode::NOT_MODIFIED {
        (answer.status.as_u16(), "")
    } else {
        (answer.status.as_u16(), answer.problem_code())
    }
}

const FAILED: (u16, &str) = (412, "precondition_failed");
const MALFORMED: (u16, &str) = (400, "invalid_request");

#[tokio::test]
async fn a_write_happens_only_when_its_conditions_are_met() {
    let replicas = [Replica::start_connected(&PATIENT), Replica::start_connected(&PATIENT)];
    let client = Client::new();
    // The record has version 1 whenever a line is tried.
    let lines: &[(Lines, bool)] = &[
        (&[("if-match", b"\"1\"")], true),
        (&[("if-match", b"*")], true),
        (&[("if-match", b"\"7\", \"1\"")], true),
        (&[("if-match", b"\"7\""), ("if-match", b",\"1\" ,")], true),
        (&[("if-match", b"W/\"x\",\"a,b\",\"1\"")], true),
        (&[("if-none-match", b"\"2\", W/\"3\"")], true),
        (&[("if-none-match", b"\"01\"")], true),
        (&[("if-none-match", b"")], true),
        (&[("if-match", b"\"1\""), ("if-none-match", b"\"2\"")], true),
        (&[("if-match", b"\"2\"")], false),
        (&[("if-match", b"W/\"1\"")], false),
        (&[("if-match", b"\"01\"")], false),
        (&[("if-match", b"\"+1\"")], false),
        (&[("if-match", b"\"9999999999999999999999\"")], false),
        (&[("if-match", b"\"\"")], false),
        (&[("if-match", b"\"made-elsewhere\xfc\"")], false),
        (&[("if-match", b"")], false),
        (&[("if-none-match", b"*")], false),
        (&[("if-none-match", b"W/\"1\"")], false),
        (&[("if-none-match", b"\"x\", \"1\"")], false),
        (&[("if-match", b"\"1\""), ("if-none-match", b"*")], false),
        (&[("if-match", b"\"2\""), ("if-none-match", b"\"2\"")], false),
    ];
    for (number, (lines, met)) in lines.iter().enumerate() {
        for method in [Method::PUT, Method::DELETE] {
            let path = format!("/data/{}", create(&replicas[0].url(""), "conditional").await);
            let url = replicas[number % 2].url(&path);
            let answer = send(with(write(&client, &method, &url), lines)).await;
            let good = if method == Method::PUT { 200 } else { 204 };
            let expected = if *met { (good, "") } else { FAILED };
            assert_eq!(said(&answer), expected, "{method} {lines:?}: {answer:?}");
            let now = get(&replicas[(number + 1) % 2].url(&path)).await;
            match (*met, &method) {
                (true, &Method::DELETE) => assert_eq!(now.status, StatusCode::NOT_FOUND, "{lines:?}"),
                (true, _) => assert_eq!(now.header("etag"), "\"2\"", "{lines:?}"),
                (false, _) => assert_eq!(now.header("etag"), "\"1\"", "nothing was done: {method} {lines:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_condition_that_cannot_be_understood_is_refused() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let url = replica.url(&format!("/data/{}", create(&replica.url(""), "conditional").await));
    for line in ["1", "\"1", "1\"", "w/\"1\"", "W/1", "\"1\" \"2\"", "*, \"1\"", "\"a b\"", "'1'"] {
        for name in ["if-match", "if-none-match"] {
            for method in [Method::PUT, Method::DELETE] {
                let answer = send(write(&client, &method, &url).header(name, line)).await;
                assert_eq!(said(&answer), MALFORMED, "{method} {name}: {line}");
            }
        }
        // For a read the full answer is always correct, but another version than the requested one is not.
        assert_eq!(said(&send(client.get(&url).header("if-none-match", line)).await), (200, ""), "{line}");
        assert_eq!(said(&send(client.get(&url).header("if-match", line)).await), MALFORMED, "{line}");
    }
    let twice = with(write(&client, &Method::DELETE, &url), &[("if-match", b"*"), ("if-match", b"*")]);
    assert_eq!(said(&send(twice).await), MALFORMED);
    assert_eq!(get(&url).await.header("etag"), "\"1\"", "nothing was done");
}

/// RFC 9110, 13.2.1: a request that fails without its conditions fails in the same way with them.
#[tokio::test]
async fn without_a_record_if_match_fails_what_would_have_succeeded() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    for (method, name, line, expected) in [
        (Method::DELETE, "if-match", "*", FAILED),
        (Method::DELETE, "if-match", "\"1\"", FAILED),
        (Method::DELETE, "if-none-match", "*", (204, "")),
        (Method::DELETE, "if-none-match", "\"1\"", (204, "")),
        (Method::PUT, "if-match", "*", (404, "not_found")),
        (Method::PUT, "if-match", "\"1\"", (404, "not_found")),
        (Method::PUT, "if-none-match", "*", (404, "not_found")),
        (Method::GET, "if-match", "\"1\"", (404, "not_found")),
        (Method::GET, "if-none-match", "*", (404, "not_found")),
    ] {
        let answer = send(write(&client, &method, &replica.url(MISSING)).header(name, line)).await;
        assert_eq!(said(&answer), expected, "{method} {name}: {line}");
    }
    let refused = client.put(replica.url(MISSING)).header("if-match", "\"1\"").header("content-type", "text/plain");
    assert_eq!(said(&send(refused.body("x")).await), (415, "unsupported_media_type"));
}

#[tokio::test]
async fn a_read_is_answered_as_its_conditions_say() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let url = replica.url(&format!("/data/{}", create(&replica.url(""), "conditional").await));
    for (lines, status) in [
        (&[("if-none-match", b"\"1\"".as_slice())][..], 304),
        (&[("if-none-match", b"W/\"1\"")], 304),
        (&[("if-none-match", b"*")], 304),
        (&[("if-none-match", b"\"a,\", \"x,1\", \"1\"")], 304),
        (&[("if-none-match", b"\"7\""), ("if-none-match", b"\"1\"")], 304),
        (&[("if-match", b"\"1\""), ("if-none-match", b"\"1\"")], 304),
        (&[("if-none-match", b"\"2\"")], 200),
        (&[("if-none-match", b"\"2,1\"")], 200),
        (&[("if-none-match", b"\"01\"")], 200),
        (&[("if-match", b"\"1\"")], 200),
        (&[("if-match", b"*")], 200),
        (&[("if-match", b"\"2\"")], 412),
        (&[("if-match", b"W/\"1\"")], 412),
        (&[("if-match", b"\"2\""), ("if-none-match", b"\"1\"")], 412),
        // There are no modification dates (13.1.3, 13.1.4).
        (&[("if-modified-since", b"Fri, 01 Jan 2100 00:00:00 GMT")], 200),
        (&[("if-unmodified-since", b"Thu, 01 Jan 1970 00:00:00 GMT")], 200),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let answer = send(with(client.request(method.clone(), &url), lines)).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {lines:?}: {answer:?}");
            let (tag, cached) = if status == 412 { ("", "no-store") } else { ("\"1\"", "no-cache") };
            assert_eq!((answer.header("etag"), answer.header("cache-control")), (tag, cached), "{method} {lines:?}");
        }
    }
}

/// It always exists, and has no entity tag.
#[tokio::test]
async fn the_collection_is_matched_by_a_star_alone() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let url = replica.url("/data");
    for (name, line, get, post) in [
        ("if-match", "*", 200, 201),
        ("if-match", "\"1\"", 412, 412),
        ("if-none-match", "*", 304, 412),
        ("if-none-match", "\"1\"", 200, 201),
        ("if-match", "1", 400, 400),
    ] {
        for (method, status) in [(Method::GET, get), (Method::POST, post)] {
            let answer = send(write(&client, &method, &url).header(name, line)).await;
            assert_eq!(answer.status.as_u16(), status, "{method} {name}: {line}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_304_and_a_204_have_no_length() {
    let replica = Replica::start_connected(&PATIENT);
    let id = create(&replica.url(""), "conditional").await;
    for (line, status) in [
        (format!("GET /data/{id}"), 304),
        (format!("HEAD /data/{id}"), 304),
        ("GET /data".to_owned(), 304),
        ("HEAD /data".to_owned(), 304),
        ("OPTIONS /data".to_owned(), 204),
        ("DELETE /data/9000000000".to_owned(), 204),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nIf-None-Match: *\r\n\r\n");
        let address = replica.address;
        let answer = tokio::task::spawn_blocking(move || raw(address, request.as_bytes())).await.expect("asked");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"), "{line}: {answer}");
        assert!(!answer.to_lowercase().contains("content-length"), "{line}: {answer}");
        assert!(!answer.to_lowercase().contains("transfer-encoding"), "{line}: {answer}");
    }
}
