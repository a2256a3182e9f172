//! `lab logs`: the last lines of the servers' logs, and with `--follow` the new ones.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
    time::Duration,
};

use stack::{Logs, Operation, Stack, StackError};

use crate::Console;

/// How much of the end of each log is shown.
const LINES: usize = 100;
const BYTES: u64 = 64 * 1024;
/// How often a followed log is read.
const LOOK_EVERY: Duration = Duration::from_millis(200);

pub(super) fn run(
    stack: &Stack,
    name: Option<&str>,
    follow: bool,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    match stack.logs()? {
        Logs::Files(files) => files_of(&files, name, follow, console, operation),
        Logs::Command(words) => {
            let mut command = Command::new(&words[0]);
            command.args(&words[1..]).args(follow.then_some("--follow")).args(name.map(service));
            let source = command.exec();
            Err(StackError::Io { what: format!("cannot run {}", words.join(" ")), source })
        }
    }
}

/// Compose treats all replicas as one service.
fn service(name: &str) -> &str {
    if name.starts_with("api-") { "api" } else { name }
}

fn files_of(
    files: &[(String, std::path::PathBuf)],
    only: Option<&str>,
    follow: bool,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let known = files.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let wanted: Vec<_> = files.iter().filter(|(found, _)| only.is_none_or(|only| only == found)).collect();
    if wanted.is_empty() {
        return Err(StackError::Usage(format!("there is no log of that name; there are {known}")));
    }
    let mut followed = Vec::new();
    for (name, path) in wanted {
        let prefix = if only.is_some() { String::new() } else { format!("{name} | ") };
        let mut tail = Tail::open(path, prefix)
            .map_err(|source| StackError::Io { what: format!("cannot read {}", path.display()), source })?;
        let lines = tail.new_lines(true);
        print(&lines[lines.len().saturating_sub(LINES)..], console);
        followed.push(tail);
    }
    while follow && operation.interrupt.count() == 0 {
        operation.interrupt.sleep(LOOK_EVERY);
        for tail in &mut followed {
            print(&tail.new_lines(false), console);
        }
    }
    Ok(())
}

fn print(lines: &[String], console: &Console) {
    if !lines.is_empty() {
        console.print(&lines.join("\n"));
    }
}

/// A log from an offset on.
struct Tail {
    file: File,
    prefix: String,
    /// The beginning of an incomplete line.
    rest: Vec<u8>,
}

impl Tail {
    fn open(path: &Path, prefix: String) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(end.saturating_sub(BYTES)))?;
        Ok(Self { file, prefix, rest: Vec::new() })
    }

    /// The complete lines since the last read; with `all` also an incomplete one.
    fn new_lines(&mut self, all: bool) -> Vec<String> {
        // A truncated log is read from its start.
        let position = self.file.stream_position().unwrap_or_default();
        if self.file.metadata().is_ok_and(|file| file.len() < position) {
            // A log that cannot be read has no new lines; the next read tries again.
            let _ = self.file.rewind();
            self.rest.clear();
        }
        // As above, what was read before an error is kept.
        let _ = self.file.read_to_end(&mut self.rest);
        let end = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            _ if all => self.rest.len(),
            Some(last) => last + 1,
            None => return Vec::new(),
        };
        let complete: Vec<u8> = self.rest.drain(..end).collect();
        String::from_utf8_lossy(&complete).lines().map(|line| format!("{}{line}", self.prefix)).collect()
    }
}
