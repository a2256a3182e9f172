//! An HTTP client for tests that send more than a GET, and a load of several of them that notes every answer. One
//! connection per request: what is measured is nginx's and the API's doing, and never a connection that had just ended.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Longer than anything may take: a client that gives up would hide how long it takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub method: &'static str,
    pub url: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Option<serde_json::Value>,
}

/// A request as it went. What is no HTTP answer has the status 0 and the reason for a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub began: Instant,
    pub took: Duration,
    pub status: u16,
    head: String,
    pub body: String,
}

impl Request {
    pub(crate) fn new(method: &'static str, url: String) -> Self {
        Self { method, url, headers: Vec::new(), body: None }
    }

    pub(crate) fn get(url: String) -> Self {
        Self::new("GET", url)
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a record of this name and value.
    pub(crate) fn record(mut self, name: &str, value: &str) -> Self {
        self.body = Some(serde_json::json!({"name": name, "value": value}));
        self
    }

    pub(crate) fn send(&self) -> Answer {
        let began = Instant::now();
        let (status, head, body) = self.exchange().unwrap_or_else(|error| (0, String::new(), error.to_string()));
        Answer { began, took: began.elapsed(), status, head, body }
    }

    fn exchange(&self) -> io::Result<(u16, String, String)> {
        let rest = self.url.strip_prefix("http://").expect("an http URL");
        let (host, path) = rest.split_at(rest.find('/').expect("a path"));
        let mut text = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", self.method);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        match &self.body {
            None => text += "\r\n",
            Some(body) => {
                let body = body.to_string();
                text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            }
        }
        let mut stream = TcpStream::connect_timeout(&host.parse().expect("an address"), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let broken = || io::Error::new(io::ErrorKind::InvalidData, format!("not an HTTP answer: {answer:?}"));
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(broken)?;
        Ok((status, head.to_owned(), body.to_owned()))
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then(|| value.trim()))
    }

    pub(crate) fn instance(&self) -> &str {
        self.header("x-instance").unwrap_or_default()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The API's word for what went wrong.
    pub(crate) fn code(&self) -> String {
        let problem: Option<serde_json::Value> = serde_json::from_str(&self.body).ok();
        problem.and_then(|problem| Some(problem["code"].as_str()?.to_owned())).unwrap_or_default()
    }
}

/// Clients that send one request after the other until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
}

impl Load {
    /// `next` makes each client's n-th request; between two requests a client waits for `pause`.
    pub(crate) fn start<Next>(clients: usize, pause: Duration, next: Next) -> Self
    where
        Next: Fn(usize, u64) -> Request + Clone + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |client| {
            let (stop, next) = (Arc::clone(&stop), next.clone());
            thread::spawn(move || {
                let mut answers = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    answers.push(next(client, number).send());
                    thread::sleep(pause);
                }
                answers
            })
        };
        let clients = (0..clients).map(start).collect();
        Self { stop, clients }
    }

    /// Lets every client finish its request. All answers, of one client after the other.
    pub(crate) fn stop(mut self) -> Vec<Answer> {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).flat_map(|client| client.join().expect("a client")).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
