//! Starts a process so that it is never lost.
//!
//! In the order of time: the lab opens `run/NAME.pid`, locks it and hands it to a small shell as standard input. The
//! shell writes its own line of `/proc` there (pid and start time), joins its CPU group, starts a new session and
//! *becomes* the program (`exec`). So the pid is on disk before the program runs its first instruction. After a crash
//! of the lab, the next lab waits for the lock and then knows whether something was started: there is no gap between
//! "started" and "recorded".
//!
//! The new session keeps the terminal's Ctrl-C and hang-up away from servers. It also makes each server the leader of a
//! process group, through which its workers are found after it has died (see `process_tree`).

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::table::Entry;
use crate::{
    StackError,
    error::{Context, cannot},
    folder::Folder,
};

/// Descriptors of the lab's caller are closed: a lock that a script holds while it runs the lab would be held by servers for as
/// long as they live. (A shell of POSIX knows no descriptors above 9.)
///
/// `$1` the CPU group's file or nothing, `$2` what the program reads as standard input, then the program.
const LAUNCHER: &str = r#"
read -r self <"/proc/$$/stat" && printf '%s\n' "$self" >&0 || exit 125
if [ -n "$1" ]; then echo "$$" >"$1" || exit 125; fi
exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
input=$2
shift 2
exec setsid "$@" <"$input"
"#;

/// The `PATH` of the shell and the programs. A server inherits no other variable, so that a stack does not depend on
/// the terminal it was started from.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A shell needs a millisecond to write its line; this limit is for a machine that is out of memory.
const LONGEST_LAUNCH: Duration = Duration::from_secs(10);

/// The number of log lines that an error message quotes.
const TAIL_LINES: usize = 12;

/// A user of this machine that a program runs as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

/// The description of a process to start.
#[derive(Debug)]
pub(crate) struct Launch {
    pub name: String,
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub folder: PathBuf,
    /// `None`: the user of the lab.
    pub account: Option<Account>,
    /// The file that puts the process whose pid is written to it under a CPU quota.
    pub cpu_group: Option<PathBuf>,
    pub input: Option<PathBuf>,
    /// Whether it inherits the lab's environment: a tool does, a server does not.
    pub inherits: bool,
}

/// A process that was started just now.
#[derive(Debug)]
pub(crate) struct Started {
    pub child: Child,
    log: PathBuf,
    /// The offset in the log at which its output starts.
    log_start: u64,
}

impl Launch {
    pub(crate) fn new(name: impl Into<String>, program: impl Into<PathBuf>, folder: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.into(),
            account: None,
            cpu_group: None,
            input: None,
            inherits: false,
        }
    }

    pub(crate) fn arguments(mut self, arguments: impl IntoIterator<Item = impl ToString>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    pub(crate) fn start(&self, folder: &Folder) -> Result<Started, StackError> {
        let log = folder.log(&self.name);
        let open_log = OpenOptions::new().append(true).create(true).open(&log);
        let (output, log_start) = open_log
            .and_then(|mut file| file.seek(SeekFrom::End(0)).map(|end| (file, end)))
            .context(|| cannot("open the log", &log))?;
        let errors = output.try_clone().context(|| cannot("open the log", &log))?;
        let pid_file = claim(&pid_path(folder, &self.name))?;

        let mut command = Command::new("/bin/sh");
        command.args(["-c", LAUNCHER, "launcher"]);
        command.arg(self.cpu_group.as_deref().unwrap_or(Path::new("")));
        command.arg(self.input.as_deref().unwrap_or(Path::new("/dev/null")));
        command.arg(&self.program).args(&self.arguments);
        if !self.inherits {
            command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        }
        command.envs(self.environment.iter().cloned());
        command.current_dir(&self.folder).stdin(pid_file).stdout(output).stderr(errors);
        if let Some(account) = &self.account {
            command.uid(account.uid).gid(account.gid);
        }
        let child = command.spawn().context(|| format!("cannot start {}", self.name))?;
        Ok(Started { child, log, log_start })
    }
}

impl Started {
    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Result<Option<String>, StackError> {
        let status = self.child.try_wait().context(|| "cannot ask for a child process".to_owned())?;
        Ok(status.map(|status| status.to_string()))
    }

    /// The error of a failed start, with the end of the program's output.
    pub(crate) fn failure(&self, server: impl Into<String>, reason: impl Into<String>) -> StackError {
        let tail = tail_since(&self.log, self.log_start);
        StackError::Start { server: server.into(), reason: reason.into(), log: self.log.clone(), tail }
    }
}

/// The process of this name that was started last. Waits for a start that is in progress.
pub(crate) fn recorded(folder: &Folder, name: &str) -> Result<Option<Entry>, StackError> {
    let path = pid_path(folder, name);
    let what = || cannot("read", &path);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.context(what)?,
    };
    let end = Instant::now() + LONGEST_LAUNCH;
    while file.try_lock_shared().is_err() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut line = String::new();
    file.read_to_string(&mut line).context(what)?;
    Ok(Entry::parse(&line))
}

/// The names of everything that was started here and not forgotten.
pub(crate) fn names(folder: &Folder) -> Result<Vec<String>, StackError> {
    let run = folder.run();
    let files = match std::fs::read_dir(&run) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.context(|| cannot("read", &run))?,
    };
    let file_names = files.filter_map(|file| file.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = file_names.filter_map(|name| Some(name.strip_suffix(".pid")?.to_owned())).collect();
    // `api-2` before `api-10`.
    names.sort_by_key(|name| (name.len(), name.clone()));
    Ok(names)
}

/// Call it only when no process of this name is alive.
pub(crate) fn forget(folder: &Folder, name: &str) {
    let _ = std::fs::remove_file(pid_path(folder, name));
}

/// The last lines of a log.
pub(crate) fn tail(log: &Path) -> String {
    tail_since(log, 0)
}

fn tail_since(log: &Path, start: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        // Enough for these lines, however long the log is.
        let from = file.metadata()?.len().saturating_sub(16 * 1024).max(start);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn pid_path(folder: &Folder, name: &str) -> PathBuf {
    folder.run().join(format!("{name}.pid"))
}

/// The lock belongs to the open file and ends when lab and shell have both closed it: when the program runs, or when a
/// crash of the lab makes the start impossible.
fn claim(path: &Path) -> Result<Stdio, StackError> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path);
    let file = file.context(|| cannot("write", path))?;
    // Waits only for readers, which finish at once: no other launch of this name is in progress.
    file.lock().context(|| cannot("lock", path))?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let place = tempfile::tempdir().unwrap();
        let folder = Folder::create(&place.path().join("stack")).unwrap();
        (place, folder)
    }

    #[test]
    fn a_started_process_has_recorded_itself_and_leads_its_own_session() {
        let (_place, folder) = folder();
        let mut started = Launch::new("sleeper", "sleep", folder.root()).arguments(["60"]).start(&folder).unwrap();
        let entry = recorded(&folder, "sleeper").unwrap().unwrap();
        assert_eq!(entry.id.pid, started.child.id());
        let end = Instant::now() + Duration::from_secs(10);
        while entry.id.look().is_none_or(|now| now.name != "sleep") {
            assert!(Instant::now() < end, "{:?}", entry.id.look());
        }
        assert_eq!(entry.id.look().unwrap().group, entry.id.pid);
        assert_eq!(names(&folder).unwrap(), ["sleeper"]);
        started.child.kill().unwrap();
        started.child.wait().unwrap();
        assert!(entry.id.look().is_none());
    }

    #[test]
    fn a_lock_of_the_caller_is_not_held_by_what_it_starts() {
        let (_place, folder) = folder();
        let lock = File::create(folder.root().join("lock")).unwrap();
        lock.lock().unwrap();
        // As a script does it: `exec 9>lock; flock 9; lab up --detach`.
        let script = r#"exec 9>&1; exec "$@" >/dev/null"#;
        let launch = Launch::new("sleeper", "sleep", folder.root()).arguments(["60"]);
        let mut caller = Command::new("/bin/sh");
        caller.args(["-c", script, "caller", "/bin/sh", "-c", LAUNCHER, "launcher", "", "/dev/null"]);
        caller.arg(&launch.program).args(&launch.arguments).stdout(lock.try_clone().unwrap());
        caller.stdin(claim(&pid_path(&folder, "sleeper")).unwrap());
        let mut child = caller.spawn().unwrap();
        drop((lock, caller));
        let entry = recorded(&folder, "sleeper").unwrap().unwrap();
        assert_eq!(entry.id.pid, child.id());
        let end = Instant::now() + Duration::from_secs(10);
        let other = File::open(folder.root().join("lock")).unwrap();
        while other.try_lock().is_err() {
            assert!(Instant::now() < end, "the lock is still held");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_lab_that_dies_before_the_launch_leaves_an_empty_number() {
        let (_place, folder) = folder();
        drop(claim(&pid_path(&folder, "api-1")).unwrap());
        assert!(recorded(&folder, "api-1").unwrap().is_none());
    }

    #[test]
    fn a_launch_under_way_is_waited_for() {
        let (_place, folder) = folder();
        let path = pid_path(&folder, "api-1");
        let mut shell = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        shell.lock().unwrap();
        let reader = std::thread::spawn({
            let folder = folder.clone();
            move || recorded(&folder, "api-1").unwrap()
        });
        io::Write::write_all(&mut shell, &std::fs::read("/proc/self/stat").unwrap()).unwrap();
        drop(shell);
        assert_eq!(reader.join().unwrap().unwrap().id.pid, std::process::id());
    }

    #[test]
    fn a_failure_quotes_only_the_output_of_this_start() {
        let (_place, folder) = folder();
        std::fs::write(folder.log("api-1"), "old words\n").unwrap();
        let launch = Launch::new("api-1", "sh", folder.root()).arguments(["-c", "echo bad port >&2; exit 64"]);
        let mut started = launch.start(&folder).unwrap();
        let status = started.child.wait().unwrap();
        let text = started.failure("api-1", status.to_string()).to_string();
        assert!(text.contains("bad port") && text.contains("64") && !text.contains("old words"), "{text}");
    }
}
