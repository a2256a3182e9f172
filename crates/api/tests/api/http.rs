//! Requests: well-formed ones through a client, malformed ones by hand.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, HeaderName},
};
use serde_json::Value;

use crate::{documented, replica::PATIENCE};

/// A parsed answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.expect("a whole body");
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status, headers, body }
    }

    /// Parses the received bytes.
    pub fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status");
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a header");
            (HeaderName::from_bytes(name.as_bytes()).expect("a name"), value.parse().expect("a value"))
        };
        let body = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned()));
        Self { status, headers: lines.map(header).collect(), body }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn cache_status(&self) -> &str {
        self.header("cache-status")
    }

    /// Asserts a problem document of the right shape, and returns its code.
    pub fn problem_code(&self) -> &str {
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        for member in ["type", "title", "detail", "code", "request_id", "trace_id"] {
            assert!(self.body[member].is_string(), "{member} is missing in {self:?}");
        }
        assert_eq!(self.body["status"], self.status.as_u16(), "{self:?}");
        assert_eq!(self.body["request_id"], self.header("x-request-id"), "{self:?}");
        assert_eq!(self.headers.contains_key("retry-after"), [429, 503].contains(&self.status.as_u16()), "{self:?}");
        assert!(["", "1", "2", "3"].contains(&self.header("retry-after")), "{self:?}");
        assert_eq!(self.header("cache-control"), "no-store", "{self:?}");
        let detail = self.body["detail"].as_str().expect("checked");
        assert!(!detail.is_empty() && detail.chars().count() <= 200, "{self:?}");
        let code = self.body["code"].as_str().expect("checked");
        assert_eq!(self.body["type"], format!("/problems/{code}"), "{self:?}");
        code
    }
}

/// The value of one series of `/metrics`, by its whole name with labels; 0 while it is not there.
pub async fn metric(url: &str, series: &str) -> f64 {
    let text = get(&format!("{url}/metrics")).await.body;
    let text = text.as_str().expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |value| value.parse().expect("a number"))
}

/// Repeats the request until the answer is as expected.
pub async fn get_until(url: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let asking = async {
        loop {
            let answer = get(url).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the wanted answer comes")
}

pub async fn get(url: &str) -> Answer {
    send(reqwest::Client::new().get(url)).await
}

/// Sends a request, and checks the answer against the document of the API.
pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let (client, request) = request.build_split();
    let request = request.expect("a request");
    let (method, path) = (request.method().clone(), request.url().path().to_owned());
    let answer = Answer::of(client.execute(request).await.expect("an answer")).await;
    documented::check(method.as_str(), &path, &answer);
    answer
}

/// Creates a record and returns its id.
pub async fn create(url: &str, name: &str) -> i64 {
    let body = serde_json::json!({ "name": name, "value": "v" });
    let created = send(reqwest::Client::new().post(format!("{url}/data")).json(&body)).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    created.body["id"].as_i64().expect("an id")
}

/// Sends bytes as they are and returns what comes back until the connection is closed.
pub fn raw(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // A server that refuses early may close before it has read everything; its answer counts.
    drop(stream.write_all(request));
    read_to_end(&mut stream)
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the replica listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
}

pub fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
