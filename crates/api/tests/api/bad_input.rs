//! Bad input: the right 4xx as a problem document, no 5xx, no lost connection for others.

use reqwest::{Client, StatusCode};

use crate::{
    http::{get, raw, send},
    replica::Replica,
};

fn post(content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST /data HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

fn with_headers(line: &str, headers: &str) -> Vec<u8> {
    format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").into_bytes()
}

#[tokio::test]
async fn each_bad_request_gets_its_own_4xx_and_nobody_else_suffers() {
    let replica = Replica::start_connected(&[]);
    let json = "application/json";
    let huge = format!(r#"{{"name":"a","value":"{}"}}"#, "x".repeat(20 << 20));
    let long = "x".repeat(20_000);
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("id zero", with_headers("GET /data/0", ""), 400, "invalid_request"),
        ("id negative", with_headers("GET /data/-1", ""), 400, "invalid_request"),
        ("id huge", with_headers("GET /data/99999999999999999999", ""), 400, "invalid_request"),
        ("id text", with_headers("GET /data/abc", ""), 400, "invalid_request"),
        ("id encoded", with_headers("GET /data/%31", ""), 400, "invalid_request"),
        ("delete id zero", with_headers("DELETE /data/0", ""), 400, "invalid_request"),
        ("limit 0", with_headers("GET /data?limit=0", ""), 400, "invalid_request"),
        ("limit 201", with_headers("GET /data?limit=201", ""), 400, "invalid_request"),
        ("limit text", with_headers("GET /data?limit=ten", ""), 400, "invalid_request"),
        ("limit twice", with_headers("GET /data?limit=1&limit=2", ""), 400, "invalid_request"),
        ("unknown parameter", with_headers("GET /data?page=2", ""), 400, "invalid_request"),
        ("unknown route", with_headers("GET /nope", ""), 404, "not_found"),
        ("trailing slash", with_headers("GET /data/", ""), 404, "not_found"),
        ("wrong method", with_headers("PATCH /data/1", ""), 405, "method_not_allowed"),
        ("made-up method", with_headers("BREW /data", ""), 405, "method_not_allowed"),
        ("long target", with_headers(&format!("GET /data?x={long}"), ""), 414, "uri_too_long"),
        ("long header", with_headers("GET /data/1", &format!("X-Long: {long}\r\n")), 431, "headers_too_large"),
        ("two keys", with_headers("GET /data/1", "X-Request-Id: a\r\nX-Request-Id: b\r\n"), 200, ""),
        ("empty body", post(json, b""), 400, "invalid_request"),
        ("broken JSON", post(json, br#"{"name":"#), 400, "invalid_request"),
        ("deep JSON", post(json, "[".repeat(100_000).as_bytes()), 400, "invalid_request"),
        ("unknown field", post(json, br#"{"name":"a","value":"","id":7}"#), 400, "invalid_request"),
        ("missing field", post(json, br#"{"name":"a"}"#), 400, "invalid_request"),
        ("wrong type", post(json, br#"{"name":1,"value":""}"#), 400, "invalid_request"),
        ("NUL in name", post(json, br#"{"name":"a\u0000b","value":""}"#), 400, "invalid_request"),
        ("not UTF-8", post(json, b"{\"name\":\"\xff\xfe\",\"value\":\"\"}"), 400, "invalid_request"),
        ("lone surrogate", post(json, br#"{"name":"\ud800","value":""}"#), 400, "invalid_request"),
        (
            "long name",
            post(json, format!(r#"{{"name":"{}","value":""}}"#, "x".repeat(201)).as_bytes()),
            400,
            "invalid_request",
        ),
        ("20 MB", post(json, huge.as_bytes()), 413, "payload_too_large"),
        ("text", post("text/plain", b"{}"), 415, "unsupported_media_type"),
    ];
    let bystander = Client::new();
    for (name, request, status, code) in cases {
        let address = replica.address;
        let answer = tokio::task::spawn_blocking(move || raw(address, &request)).await.expect("asked");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {}", &answer[..answer.len().min(600)]);
        if !code.is_empty() {
            assert!(answer.contains("application/problem+json"), "{name}: {answer}");
            assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{name}: {answer}");
            assert!(answer.contains(&format!("\"status\":{status}")), "{name}: {answer}");
        }
        // Over a connection that stays open all the time.
        assert_eq!(send(bystander.get(replica.url("/data/1"))).await.status, StatusCode::OK, "after {name}");
    }
    let metrics = get(&replica.url("/metrics")).await.body.as_str().expect("text").to_owned();
    let failed = |line: &&str| line.contains("http_response_status_code=\"5") && !line.ends_with(" 0");
    assert_eq!(metrics.lines().find(failed), None, "no 5xx at all");
}

#[tokio::test]
async fn a_chunked_body_without_end_is_cut_at_the_limit() {
    let replica = Replica::start_connected(&[]);
    let mut request =
        b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            .to_vec();
    for _ in 0..40 {
        request.extend_from_slice(b"2000\r\n");
        request.extend_from_slice(&[b' '; 0x2000]);
        request.extend_from_slice(b"\r\n");
    }
    let address = replica.address;
    let answer = tokio::task::spawn_blocking(move || raw(address, &request)).await.expect("asked");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn idempotency_keys_are_checked() {
    let replica = Replica::start_connected(&[]);
    let client = Client::new();
    let post = || client.post(replica.url("/data")).json(&serde_json::json!({"name": "a", "value": ""}));
    for wrong in ["", "has space", &"x".repeat(256)] {
        assert_eq!(send(post().header("idempotency-key", wrong)).await.problem_code(), "invalid_request", "{wrong:?}");
    }
    let twice = post().header("idempotency-key", "a").header("idempotency-key", "b");
    assert_eq!(send(twice).await.problem_code(), "invalid_request");
}
