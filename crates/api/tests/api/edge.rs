//! The same rules through nginx: what it compresses, what it answers itself, and what it passes on.

use std::{collections::BTreeSet, io::Write};

use api::problem::catalogue::Kind;
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use stack::{Operation, ServerFault, Target};

use crate::{
    http::{Answer, connect, create, get, get_until, read_to_end, send},
    servers::Servers,
};

/// nginx answers as soon as its replica does.
async fn ready(servers: &Servers) -> String {
    get_until(&format!("{}/health", servers.base_url), |health| health.body["status"] == "pass").await;
    servers.base_url.clone()
}

fn accepting(coding: &str, url: &str) -> reqwest::RequestBuilder {
    Client::new().get(url).header("accept-encoding", coding)
}

#[tokio::test]
async fn pages_are_compressed_for_who_takes_it_and_say_that_they_vary() {
    let servers = Servers::shared();
    let base = ready(&servers).await;
    let url = format!("{base}/data?limit=100");
    let plain = send(accepting("identity", &url)).await;
    assert_eq!((plain.status, plain.header("content-encoding")), (StatusCode::OK, ""));
    assert_eq!(plain.header("vary"), "Accept-Encoding", "{plain:?}");
    let response = accepting("gzip", &url).send().await.expect("an answer");
    assert_eq!(response.headers().get("content-encoding").map(|coding| coding.as_bytes()), Some(b"gzip".as_slice()));
    assert_eq!(response.headers().get("vary").map(|vary| vary.as_bytes()), Some(b"Accept-Encoding".as_slice()));
    assert!(response.headers().get("etag").is_none(), "a page has no entity tag that could be made weak");
    let compressed = response.bytes().await.expect("a body").len();
    let length = plain.body.to_string().len();
    assert!(compressed * 3 < length, "{compressed} of {length} bytes");
    let short = send(accepting("gzip", &format!("{base}/data?limit=1"))).await;
    assert_eq!(short.header("content-encoding"), "", "too short to be worth it");
}

/// Compression would make its tag weak, and a weak tag never matches `If-Match`.
#[tokio::test]
async fn a_record_keeps_its_strong_tag_and_can_be_replaced_by_it() {
    let servers = Servers::shared();
    let base = ready(&servers).await;
    let client = Client::new();
    let large = json!({"name": "large", "value": "words ".repeat(2_000)});
    let created = send(client.post(format!("{base}/data")).json(&large)).await;
    let url = format!("{base}{}", created.header("location"));
    let read = send(accepting("gzip, br", &url)).await;
    assert_eq!((read.header("content-encoding"), read.header("etag")), ("", "\"1\""), "{:?}", read.headers);
    let known = send(accepting("gzip", &url).header("if-none-match", "\"x,\", W/\"1\"")).await;
    assert_eq!((known.status, known.header("etag")), (StatusCode::NOT_MODIFIED, "\"1\""));
    let replaced = send(client.put(&url).header("if-match", read.header("etag")).json(&large)).await;
    assert_eq!((replaced.status, replaced.header("etag")), (StatusCode::OK, "\"2\""));
    let refused = send(client.put(&url).header("if-none-match", "*").json(&large)).await;
    assert_eq!(refused.problem_code(), "precondition_failed");
    assert_eq!(send(client.delete(&url).header("if-match", "\"1\", \"2\"")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn methods_and_types_come_through() {
    let servers = Servers::shared();
    let base = ready(&servers).await;
    let options = send(Client::new().request(Method::OPTIONS, format!("{base}/data"))).await;
    assert_eq!((options.status.as_u16(), options.header("allow")), (204, "GET, HEAD, POST, OPTIONS"));
    let encoded = Client::new().post(format!("{base}/data")).header("content-type", "application/json");
    let encoded = send(encoded.header("content-encoding", "gzip").body("x")).await;
    assert_eq!((encoded.status.as_u16(), encoded.header("accept-encoding")), (415, "identity"), "{encoded:?}");
    let record = format!("{base}/data/{}", create(&base, "head").await);
    let (got, head) = (get(&record).await, send(Client::new().head(&record)).await);
    assert_eq!(
        (got.header("etag"), got.header("content-length")),
        (head.header("etag"), head.header("content-length"))
    );
}

/// Each problem has its page, also those that only nginx sends.
#[tokio::test]
async fn a_problem_of_the_proxy_leads_to_its_page() {
    let servers = Servers::shared();
    let base = ready(&servers).await;
    let forbidden = get(&format!("{base}/metrics")).await;
    assert_eq!((forbidden.problem_code(), forbidden.header("x-instance")), ("forbidden", "nginx"));
    for kind in Kind::all() {
        let page = get(&format!("{base}/problems/{}", kind.code)).await;
        assert_eq!((page.status, page.header("content-type")), (StatusCode::OK, "text/markdown; charset=utf-8"));
        assert!(page.body.as_str().is_some_and(|text| text.starts_with(&format!("# {}\n", kind.title))), "{page:?}");
    }
    let answers = ["BREW /data HTTP/9.9", "no request at all", "GET /data HTTP/1.1\r\nHost: a b"]
        .map(|line| raw_problem(&base, line));
    let statuses: BTreeSet<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert!(statuses.contains(&400), "{answers:?}");
}

/// nginx's answer to an invalid request line, checked like every other problem.
fn raw_problem(base: &str, line: &str) -> Answer {
    let mut stream = connect(base.trim_start_matches("http://").parse().expect("an address"));
    stream.write_all(format!("{line}\r\nConnection: close\r\n\r\n").as_bytes()).expect("sent");
    let answer = Answer::parse(&read_to_end(&mut stream));
    assert!(Kind::find(answer.problem_code()).is_some_and(|kind| kind.status == answer.status.as_u16()), "{answer:?}");
    answer
}

/// Where no replica answers, nginx does, in the same words. In this order: a replica that has just failed is left out, and
/// "no replica is left" is 502, too.
#[tokio::test]
async fn nginx_answers_for_a_replica_that_is_dead_or_silent() {
    let servers = Servers::alone();
    let base = ready(&servers).await;
    for (fault, status, code) in [(ServerFault::Pause, 504, "gateway_timeout"), (ServerFault::Kill, 502, "bad_gateway")]
    {
        let stack = servers.stack();
        stack.inject(fault.into(), Target::Api(1), &Operation::default()).expect("broken");
        let record = format!("{base}/data/1");
        let body = json!({"name": "n", "value": "v"});
        for (method, request) in [
            ("GET", Client::new().get(&record)),
            ("PUT", Client::new().put(&record).json(&body)),
            ("POST", Client::new().post(format!("{base}/data")).json(&body)),
        ] {
            let refused = send(request).await;
            assert_eq!((refused.status.as_u16(), refused.problem_code()), (status, code), "{method}: {refused:?}");
            assert_eq!(refused.header("x-instance"), "nginx", "{refused:?}");
        }
        stack.heal(Some(Target::Api(1)), &Operation::default()).expect("healed");
        get_until(&record, |read| read.status == StatusCode::OK).await;
    }
}

/// Clients that were refused together get different retry times.
#[tokio::test]
async fn nginx_tells_a_client_over_its_limit_when_to_come_back() {
    let servers = Servers::alone();
    let base = ready(&servers).await;
    servers.limit_one_client("1r/s");
    let url = format!("{base}/data/1");
    get_until(&url, |read| read.status == StatusCode::TOO_MANY_REQUESTS).await;
    let mut waits = BTreeSet::new();
    // Each third of the clients gets another time: 80 refusals without one of the three would be a defect.
    for _ in 0..100 {
        let read = get(&url).await;
        if read.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!((read.problem_code(), read.header("x-instance")), ("rate_limited", "nginx"), "{read:?}");
            waits.insert(read.header("retry-after").to_owned());
        }
    }
    assert_eq!(waits.into_iter().collect::<Vec<_>>(), ["1", "2", "3"]);
}
