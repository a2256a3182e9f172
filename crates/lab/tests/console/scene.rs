//! A stack, its console and a browser.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::browser::Browser;

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Scene {
    // In the order in which they end.
    pub(crate) browser: Browser,
    pub(crate) console: Console,
    pub(crate) stack: RunningStack,
}

/// A stack on ports drawn at random. When it is dropped it is stopped and removed.
pub(crate) struct RunningStack(tempfile::TempDir);

pub(crate) struct Console {
    child: Child,
    /// With the token.
    pub(crate) link: String,
}

/// An answer of the console.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Scene {
    pub(crate) fn open() -> Self {
        let stack = RunningStack::up();
        let console = Console::start(&stack, 0, &[]);
        Self { browser: Browser::start(), console, stack }
    }
}

impl RunningStack {
    fn up() -> Self {
        let api = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("api");
        assert!(api.exists(), "these tests run the API: build it first with `cargo build -p api`");
        let stack = Self(tempfile::tempdir().unwrap());
        // Postgres' own user goes through it.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(stack.0.path(), mode).unwrap();
        stack.lab(&["up", "--detach", "--port", "0"]);
        stack
    }

    /// A file beside the state folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("stack")
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        // The parent may ignore signals, and children inherit that.
        let mut command = Command::new("env");
        command.arg("--default-signal").arg(env!("CARGO_BIN_EXE_lab")).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.arg("--state-dir").arg(self.folder()).args(words).stdin(Stdio::null());
        command
    }

    /// Runs a lab to its good end. Returns what it printed.
    pub(crate) fn lab(&self, words: &[&str]) -> String {
        let output = self.command(words).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "lab {words:?}: {}{}", said(&output.stdout), said(&output.stderr));
        said(&output.stdout)
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.lab(&["status", "--json"])).unwrap()
    }

    pub(crate) fn state(&self, name: &str) -> String {
        self.status()["dependencies"][name]["state"].as_str().unwrap().to_owned()
    }
}

impl Drop for RunningStack {
    fn drop(&mut self) {
        let ended = self.command(&["down", "--purge"]).output().map(|output| output.status.success());
        assert!(std::thread::panicking() || ended.is_ok_and(|ended| ended), "the stack could not be stopped");
    }
}

impl Console {
    pub(crate) fn start(stack: &RunningStack, port: u16, more: &[&str]) -> Self {
        let port = port.to_string();
        let mut command = stack.command(&[&["console", "--no-open", "--port", &port], more].concat());
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut link = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut link).unwrap();
        let link = link.trim().to_owned();
        assert!(link.starts_with("http://127.0.0.1:"), "{link:?}");
        Self { child, link }
    }

    /// What it keeps in memory, in bytes: not shared with files.
    pub(crate) fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// `127.0.0.1:PORT`
    pub(crate) fn authority(&self) -> &str {
        self.link.trim_start_matches("http://").split('/').next().unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.authority().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn token(&self) -> &str {
        self.link.rsplit_once('=').unwrap().1
    }

    /// The header by which a browser is let act.
    pub(crate) fn cookie(&self) -> String {
        format!("Cookie: lab_console_{}={}", self.port(), self.token())
    }

    /// Ctrl-C, and its end.
    pub(crate) fn interrupt(&mut self) {
        self.end_by(Signal::INT);
    }

    pub(crate) fn end_by(&mut self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        self.child.wait().unwrap();
    }

    /// One exchange as no browser would have it. Without a `Host` among them the headers get the right one.
    pub(crate) fn exchange(&self, method: &str, target: &str, headers: &[&str], body: &str) -> Answer {
        let mut stream = self.send(method, target, headers, body);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    fn send(&self, method: &str, target: &str, headers: &[&str], body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.authority()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = format!("Host: {}", self.authority());
        let host = if headers.iter().any(|header| header.starts_with("Host:")) { None } else { Some(&*host) };
        let headers: Vec<&str> = headers.iter().copied().chain(host).collect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\n{}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{body}",
            headers.join("\r\n"),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream
    }

    /// The first frame of the stream for one who has seen this one before: its id and content.
    pub(crate) fn first_frame(&self, last_seen: Option<&str>) -> (String, serde_json::Value) {
        let seen = last_seen.map(|id| format!("Last-Event-ID: {id}"));
        let stream = self.send("GET", "/stream", &seen.as_deref().into_iter().collect::<Vec<_>>(), "");
        let (mut id, mut data): (_, Option<serde_json::Value>) = (None, None);
        for line in BufReader::new(stream).lines().map(Result::unwrap) {
            id = line.strip_prefix("id: ").map(str::to_owned).or(id);
            data = line.strip_prefix("data: ").map(|data| serde_json::from_str(data).unwrap()).or(data);
            if let (Some(id), Some(data), true) = (&id, &data, line.is_empty()) {
                return (id.clone(), data.clone());
            }
        }
        panic!("the stream ended");
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        if self.child.try_wait().unwrap().is_none() {
            self.interrupt();
        }
    }
}

/// Looks until there is something.
pub(crate) fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait(what, PATIENCE, look)
}

/// For what a slow machine does slowly, step by step.
pub(crate) fn wait_for_long<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait(what, 20 * PATIENCE, look)
}

fn wait<T>(what: &str, patience: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}
