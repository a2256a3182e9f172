//! One throw-away stack per test, and the proof that nothing of it is left.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use stack::{Status, Target};

/// For anything a lab does, on a machine that runs all these tests at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A state folder. When it is dropped, what is left of the stack is stopped and removed.
pub(crate) struct Place {
    parent: tempfile::TempDir,
    name: String,
    environment: Vec<(String, String)>,
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// A lab that runs beside the test.
pub(crate) struct Running {
    child: Child,
    output: PathBuf,
}

impl Place {
    /// A folder that every user may enter, as most are.
    pub(crate) fn new() -> Self {
        Self::with_mode(0o755)
    }

    /// A folder that only its owner may enter.
    pub(crate) fn closed() -> Self {
        Self::with_mode(0o700)
    }

    fn with_mode(mode: u32) -> Self {
        let api = Path::new(env!("CARGO_BIN_EXE_lab")).with_file_name("api");
        assert!(api.exists(), "these tests run the API: build it first with `cargo build -p api`");
        let parent = tempfile::tempdir().expect("a temporary folder");
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(mode)).expect("chmod");
        Self { parent, name: "stack".to_owned(), environment: Vec::new() }
    }

    /// With a variable for every lab that is started here.
    #[cfg(feature = "docker")]
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a state folder of this name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.parent.path().join(&self.name)
    }

    /// A file beside the state folder.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        // The parent process may ignore signals (`nohup` and background jobs do), and children inherit that.
        let mut command = Command::new("env");
        command.arg("--default-signal").arg(env!("CARGO_BIN_EXE_lab"));
        command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--state-dir").arg(self.folder()).args(words);
        command.stdin(Stdio::null()).envs(self.environment.iter().cloned());
        command
    }

    pub(crate) fn lab(&self, words: &[&str]) -> Outcome {
        let running = self.start(words);
        running.outcome()
    }

    /// A lab command that has to succeed. Returns what it printed.
    pub(crate) fn ok(&self, words: &[&str]) -> String {
        let outcome = self.lab(words);
        assert_eq!(outcome.code, Some(0), "lab {words:?}: {outcome:?}");
        outcome.stdout
    }

    /// Starts a lab and leaves it running.
    pub(crate) fn start(&self, words: &[&str]) -> Running {
        let serial = fs::read_dir(self.parent.path()).expect("its own folder").count();
        let output = self.beside(&format!("output-{serial}-{}", thread::current().name().unwrap_or("test").len()));
        let mut command = self.command(words);
        command.stdout(fs::File::create(output.with_extension("out")).expect("a file"));
        command.stderr(fs::File::create(output.with_extension("err")).expect("a file"));
        let child = command.spawn().expect("lab");
        // Until then it is still `env`, with the signals that the tests were given.
        let exe = format!("/proc/{}/exe", child.id());
        wait_until("lab in the place of env", || fs::read_link(&exe).map_or(true, |exe| exe.ends_with("lab")));
        Running { child, output }
    }

    /// A detached stack on ports drawn at random, so that tests do not meet.
    pub(crate) fn up(&self, more: &[&str]) -> Status {
        self.ok(&[&["up", "--detach", "--port", "0"], more].concat());
        self.status()
    }

    pub(crate) fn status(&self) -> Status {
        let json = self.ok(&["status", "--json"]);
        serde_json::from_str(&json).unwrap_or_else(|error| panic!("{error}: {json}"))
    }

    /// The state of one server, as it stands in the JSON.
    pub(crate) fn state(&self, target: &str) -> String {
        let target: Target = target.parse().expect("a target");
        let status = self.status();
        let found = status.servers().find(|(name, ..)| *name == target).map(|(.., server)| server.state);
        found.expect("a known server").as_str().to_owned()
    }

    /// The numbers of all processes that work in the state folder or were told of it.
    pub(crate) fn processes(&self) -> Vec<String> {
        let folder = self.folder().display().to_string();
        // Postgres's own folder carries the name of the state folder's place.
        let outside = self.parent.path().display().to_string().trim_start_matches('/').replace(['/', '.'], "-");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let path = entry.path();
            let cwd = fs::read_link(path.join("cwd")).unwrap_or_default().display().to_string();
            let command = fs::read_to_string(path.join("cmdline")).unwrap_or_default().replace('\0', " ");
            let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
            let is_dead = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']));
            let concerned = [&cwd, &command].iter().any(|text| text.contains(&folder) || text.contains(&outside));
            if concerned && !is_dead && path.join("exe").exists() {
                found.push(format!("{} {command}", entry.file_name().display()));
            }
        }
        found
    }

    pub(crate) fn assert_nothing_left(&self) {
        let left = self.processes();
        assert!(left.is_empty(), "left behind: {left:#?}");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let outcome = self.lab(&["down", "--purge"]);
        if !thread::panicking() {
            assert_eq!(outcome.code, Some(0), "{outcome:?}");
            assert!(!self.folder().exists(), "the state folder is still there");
            self.assert_nothing_left();
        }
    }
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Standard output and standard error so far.
    pub(crate) fn said(&self) -> (String, String) {
        let read = |kind| fs::read_to_string(self.output.with_extension(kind)).expect("its output");
        (read("out"), read("err"))
    }

    pub(crate) fn wait_for(&mut self, text: &str) {
        wait_until(&format!("{text:?} from the lab"), || {
            let (out, err) = self.said();
            let ended = self.child.try_wait().expect("a child");
            let seen = out.contains(text) || err.contains(text);
            assert!(seen || ended.is_none(), "it ended ({ended:?}) without {text:?}: {out} {err}");
            seen
        });
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    pub(crate) fn outcome(mut self) -> Outcome {
        let status = self.end();
        let (stdout, stderr) = self.said();
        Outcome { code: status.code(), stdout, stderr }
    }

    fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            if Instant::now() > end {
                let said = self.said();
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("the lab did not end; it said {said:?}");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

pub(crate) fn send(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process number");
    kill_process(pid, signal).expect("a living process");
}

/// Looks until it is so.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a good answer: on a machine that is busy with other tests the API refuses now and then what takes too long.
pub(crate) fn wait_for_answer(url: &str) {
    wait_until(&format!("200 from {url}"), || get(url).0 == 200);
}

/// GET within two seconds: the status and the replica that answered; status 0 when nothing did.
pub(crate) fn get(url: &str) -> (u16, String) {
    match stack::get(url, Duration::from_secs(2)) {
        Ok(answer) => (answer.status, answer.header("x-instance").unwrap_or_default().to_owned()),
        Err(_) => (0, String::new()),
    }
}
