//! HEAD, OPTIONS, and unsupported methods.

use std::collections::BTreeMap;

use reqwest::{Client, Method};

use crate::{
    http::{Answer, create, get, raw, send},
    replica::{PATIENT, Replica},
};

/// A path of each route, and its methods.
const ROUTES: [(&str, &str); 8] = [
    ("/data", "GET, HEAD, POST, OPTIONS"),
    ("/data/9000000000", "GET, HEAD, PUT, DELETE, OPTIONS"),
    ("/health", "GET, HEAD, OPTIONS"),
    ("/livez", "GET, HEAD, OPTIONS"),
    ("/readyz", "GET, HEAD, OPTIONS"),
    ("/metrics", "GET, HEAD, OPTIONS"),
    ("/openapi.json", "GET, HEAD, OPTIONS"),
    ("/problems/not_found", "GET, HEAD, OPTIONS"),
];

/// Headers that differ between answers.
const OF_THE_MOMENT: [&str; 7] =
    ["date", "x-request-id", "traceparent", "server-timing", "cache-status", "retry-after", "age"];

fn comparable(answer: &Answer) -> BTreeMap<&str, &str> {
    let names = answer.headers.keys().map(reqwest::header::HeaderName::as_str);
    names.filter(|name| !OF_THE_MOMENT.contains(name)).map(|name| (name, answer.header(name))).collect()
}

#[tokio::test]
async fn head_answers_what_get_answers_without_the_body() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    let record = format!("/data/{}", create(&replica.url(""), "head").await);
    let errors = ["/data/0", "/data?limit=0", "/nope", "/problems/nope", "/data?x=1"];
    for path in ROUTES.iter().map(|(path, _)| *path).chain(errors).chain([record.as_str()]) {
        let url = replica.url(path);
        let (got, head) = (get(&url).await, send(client.head(&url)).await);
        assert_eq!(head.status, got.status, "{path}");
        assert_eq!(head.body, "", "{path}");
        let (mut got, mut head) = (comparable(&got), comparable(&head));
        if ["/metrics", "/health"].contains(&path) {
            // The length of these varies.
            assert!(got.remove("content-length").is_some() && head.remove("content-length").is_some(), "{path}");
        }
        assert_eq!(head, got, "{path}");
        assert!(head.contains_key("cache-control") && head.contains_key("content-type"), "{path}: {head:?}");
    }
}

#[tokio::test]
async fn options_and_405_say_which_methods_there_are() {
    let replica = Replica::start_connected(&PATIENT);
    let client = Client::new();
    for (path, methods) in ROUTES {
        let url = replica.url(path);
        let options = send(client.request(Method::OPTIONS, &url)).await;
        assert_eq!((options.status.as_u16(), options.header("allow")), (204, methods), "{path}: {options:?}");
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "BREW"] {
            let answer = send(client.request(Method::from_bytes(method.as_bytes()).expect("a token"), &url)).await;
            let is_allowed = methods.split(", ").any(|allowed| allowed == method);
            assert_eq!(answer.status.as_u16() != 405, is_allowed, "{method} {path}: {answer:?}");
            if !is_allowed {
                assert_eq!((answer.problem_code(), answer.header("allow")), ("method_not_allowed", methods));
            }
        }
    }
    assert_eq!(send(client.request(Method::OPTIONS, replica.url("/nope"))).await.problem_code(), "not_found");

    let address = replica.address;
    let star = b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let star = tokio::task::spawn_blocking(move || raw(address, star)).await.expect("asked");
    assert!(star.starts_with("HTTP/1.1 204 "), "{star}");
    assert!(star.contains("allow: GET, HEAD, POST, PUT, DELETE, OPTIONS\r\n"), "{star}");
}
