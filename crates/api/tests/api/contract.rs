//! The headers of every answer; logs, metrics, health and the OpenAPI document.

use std::collections::BTreeSet;

use api::middleware::route::Route;
use reqwest::{Client, Method};
use serde_json::Value;
use strum::VariantArray;

use crate::{
    documented,
    http::{get, send},
    replica::Replica,
};

#[tokio::test]
async fn every_answer_names_its_replica_and_its_request() {
    let replica = Replica::start_connected(&[]);
    for path in ["/data/1", "/data", "/data/0", "/health", "/livez", "/readyz", "/metrics", "/openapi.json", "/nope"] {
        let answer = send(Client::new().get(replica.url(path)).header("x-request-id", "my-id.1")).await;
        assert_eq!(
            (answer.header("x-instance"), answer.header("x-request-id")),
            ("api-under-test", "my-id.1"),
            "{path}"
        );
    }
    let made = send(Client::new().get(replica.url("/livez")).header("x-request-id", "not sane!")).await;
    assert_eq!(made.header("x-request-id").len(), 32, "an id that is not sane is replaced");
}

#[tokio::test]
async fn health_tells_of_each_dependency() {
    let replica = Replica::start_connected(&[]);
    let health = get(&replica.url("/health")).await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (200, &"pass".into()));
    for check in ["postgres:responseTime", "redis:responseTime"] {
        let check = &health.body["checks"][check][0];
        assert!(check["observedValue"].as_f64().is_some_and(|latency| latency > 0.0), "{check}");
        assert_eq!((&check["status"], &check["observedUnit"]), (&"pass".into(), &"ms".into()));
    }
}

#[tokio::test]
async fn each_request_is_one_log_line_without_its_query_or_body() {
    let replica = Replica::start_connected(&[]);
    let request = Client::new().get(replica.url("/data?limit=1&after=3")).header("x-request-id", "logged-1");
    assert_eq!(send(request).await.status.as_u16(), 200);
    let line = replica.wait_for_log(|line| line["request_id"] == "logged-1");
    for (field, value) in [("route", "/data"), ("path", "/data"), ("method", "GET"), ("instance", "api-under-test")] {
        assert_eq!(line[field], value, "{line}");
    }
    assert_eq!(line["status"], 200);
    assert!(line["duration_ms"].as_f64().is_some_and(|duration| duration > 0.0), "{line}");
    assert!(!line.to_string().contains("after=3"), "{line}");
    let lines = replica.log_lines();
    assert_eq!(lines.iter().filter(|line| line["request_id"] == "logged-1").count(), 1);

    let quiet = Replica::start_connected(&[("ACCESS_LOG", "off")]);
    assert_eq!(get(&quiet.url("/data/1")).await.status.as_u16(), 200);
    assert!(quiet.log_lines().iter().all(|line| line["message"] != "request"));
}

#[tokio::test]
async fn a_scanner_makes_one_series() {
    let replica = Replica::start_connected(&[]);
    let client = Client::new();
    for i in 0..200 {
        let method = Method::from_bytes(format!("SCAN{i}").as_bytes()).expect("a token");
        send(client.request(method, replica.url(&format!("/scan/{i}")))).await;
    }
    let metrics = get(&replica.url("/metrics")).await.body.as_str().expect("text").to_owned();
    let scanned: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("http_requests_total") && line.contains("_unmatched")).collect();
    assert_eq!(scanned.len(), 1, "{scanned:?}");
    assert!(scanned[0].contains("_OTHER") && scanned[0].ends_with(" 200"), "{scanned:?}");
}

/// A method that is not documented gets 405, and every reference in the document exists. Each answer in any test is
/// checked against the document.
#[tokio::test]
async fn the_openapi_document_describes_this_service() {
    let replica = Replica::start_connected(&[]);
    let client = Client::new();
    let document = get(&replica.url("/openapi.json")).await.body;
    assert_eq!((&document, &document["openapi"]), (documented::document(), &Value::from("3.1.0")));
    let paths = document["paths"].as_object().expect("paths");
    for (path, operations) in paths {
        let url = replica.url(&path.replace("{id}", "9000000000").replace("{code}", "not_found"));
        for method in ["get", "head", "post", "put", "delete", "options", "patch", "trace"] {
            let request = client.request(Method::from_bytes(method.to_uppercase().as_bytes()).expect("a token"), &url);
            let answer = send(request.header("content-type", "application/json").body("{}")).await;
            assert_eq!(operations[method].is_null(), answer.status.as_u16() == 405, "{method} {path}: {answer:?}");
        }
    }
    let routes = Route::VARIANTS.iter().filter(|route| **route != Route::Unmatched);
    assert_eq!(
        paths.keys().collect::<BTreeSet<_>>(),
        routes.map(|route| route.as_str()).map(str::to_owned).collect::<BTreeSet<_>>().iter().collect()
    );
    assert_no_dangling_reference(&document, &document);
}

fn assert_no_dangling_reference(document: &Value, part: &Value) {
    match part {
        Value::Object(members) => {
            if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                let pointer = reference.strip_prefix('#').expect("a local reference");
                assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
            }
            members.values().for_each(|member| assert_no_dangling_reference(document, member));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_no_dangling_reference(document, item)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
