//! Provokes every status in the document, on every operation.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use api::{middleware::route::Route, problem::catalogue::Kind};
use axum::body::{Bytes, HttpBody};
use hyper::body::Frame;
use reqwest::{Client, Method, RequestBuilder};
use rustix::process::Signal;
use serde_json::json;

use crate::{
    documented::document,
    http::{get_until, send},
    proxy::{Mode, Proxy},
    replica::{PATIENT, Replica},
};

/// Route, method and status.
type Given = BTreeSet<(String, String, String)>;

/// A fault of the service itself cannot be provoked from outside.
const NOT_PROVOKED: &str = "500";

/// No test makes so many records.
const MISSING: &str = "/data/9000000000";

fn documented() -> Given {
    let mut given = Given::new();
    for (path, operations) in document()["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            for status in operation["responses"].as_object().into_iter().flatten().map(|(status, _)| status) {
                given.insert((path.clone(), method.to_uppercase(), status.clone()));
            }
        }
    }
    given.retain(|(.., status)| status != NOT_PROVOKED);
    given
}

struct Asked<'a> {
    replica: &'a Replica,
    client: Client,
    given: Given,
}

impl Asked<'_> {
    fn request(&self, method: &str, target: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a token");
        let request = self.client.request(method.clone(), self.replica.url(target));
        let has_body = method == Method::POST || method == Method::PUT;
        if has_body { request.json(&json!({"name": "status", "value": ""})) } else { request }
    }

    /// Every documented operation, with `change` made to its request.
    async fn each(&mut self, record: &str, query: &str, change: impl Fn(RequestBuilder) -> RequestBuilder) {
        for (path, operations) in document()["paths"].as_object().expect("paths") {
            let target = path.replace("/data/{id}", record).replace("{code}", "not_found") + query;
            for method in operations.as_object().expect("operations").keys().filter(|key| *key != "parameters") {
                let method = method.to_uppercase();
                self.send(&method, &target, change(self.request(&method, &target))).await;
            }
        }
    }

    async fn send(&mut self, method: &str, target: &str, request: RequestBuilder) {
        let status = send(request).await.status.as_str().to_owned();
        let path = target.split('?').next().unwrap_or_default();
        self.given.insert((Route::of(path).as_str().to_owned(), method.to_owned(), status));
    }
}

async fn ask_a_healthy_replica(asked: &mut Asked<'_>) {
    let long = "x".repeat(20_000);
    for line in ["*", "\"7\""] {
        asked.each("/data/1", "", |request| request.header("if-match", line).header("if-none-match", "*")).await;
    }
    asked.each("/data/1", "", |request| request.header("if-none-match", "*")).await;
    asked.each(MISSING, "", |request| request).await;
    asked.each("/data/0", "?limit=0", |request| request.header("if-match", "x")).await;
    asked.each(MISSING, &format!("?x={}", &long[..5_000]), |request| request).await;
    asked.each(MISSING, "", |request| request.header("x-long", &long)).await;
    for code in Kind::all().map(|kind| kind.code).chain(["nothing"]) {
        for method in ["GET", "HEAD"] {
            let target = format!("/problems/{code}");
            let request = asked.request(method, &target);
            asked.send(method, &target, request).await;
        }
    }
    let record = format!("/data/{}", crate::http::create(&asked.replica.url(""), "status").await);
    for (method, target) in [("POST", "/data"), ("PUT", record.as_str())] {
        let url = asked.replica.url(target);
        let request = || asked.client.request(Method::from_bytes(method.as_bytes()).expect("a token"), &url);
        let json = || request().header("content-type", "application/json");
        let slow = reqwest::Body::wrap(SlowBody);
        let requests = [
            asked.request(method, target),
            request().body("text"),
            json().body(" ".repeat(200_000)),
            json().body(slow),
        ];
        for request in requests {
            asked.send(method, target, request).await;
        }
    }
    for method in ["GET", "HEAD"] {
        let request = asked.request(method, &record);
        asked.send(method, &record, request).await;
    }
    for value in ["one", "other"] {
        let body = json!({"name": "status", "value": value});
        let key = format!("statuses-{}", asked.replica.address);
        let request = asked.client.post(asked.replica.url("/data")).header("idempotency-key", key).json(&body);
        asked.send("POST", "/data", request).await;
    }
}

/// A body that never arrives.
struct SlowBody;

impl HttpBody for SlowBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn each_documented_status_of_each_operation_is_given() {
    let replica = Replica::start_connected(&[PATIENT[0], ("BODY_TIMEOUT", "300ms")]);
    let mut asked = Asked { replica: &replica, client: Client::new(), given: Given::new() };
    ask_a_healthy_replica(&mut asked).await;
    let mut given = asked.given;

    let limited = Replica::start_connected(&[("MAX_RPS", "1")]);
    let mut asked = Asked { replica: &limited, client: Client::new(), given };
    // One request a second is admitted, each time another one.
    for _ in 0..3 {
        asked.each(MISSING, "", |request| request).await;
    }
    given = asked.given;

    let (postgres, redis) = Proxy::pair();
    let mut broken =
        Replica::start_behind(&postgres, &redis, &[("CACHE", "off"), ("DRAIN_DELAY", "9s"), ("DRAIN_TIMEOUT", "1s")]);
    postgres.set(Mode::Refuse);
    get_until(&broken.url("/health"), |health| health.status.as_u16() == 503).await;
    broken.signal(Signal::TERM);
    broken.wait_for_log(|line| line["message"] == "not ready any more");
    let mut asked = Asked { replica: &broken, client: Client::new(), given };
    asked.each(MISSING, "", |request| request).await;
    given = asked.given;
    broken.signal(Signal::INT);
    broken.wait();

    let documented = documented();
    let missing: Vec<_> = documented.difference(&given).collect();
    assert!(missing.is_empty(), "documented and never given: {missing:#?}");
    let undocumented: Vec<_> = given.difference(&documented).filter(|(.., status)| status != NOT_PROVOKED).collect();
    assert!(undocumented.is_empty(), "{undocumented:#?}");
}
