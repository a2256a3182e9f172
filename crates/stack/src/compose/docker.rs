//! Calls of the `docker` program, with a time limit. An error quotes the program's output.

use std::{
    io::Read,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use crate::{Interrupt, StackError};

/// The slowest single step is stopping a container: a grace period of 30 s in the compose file, and the engine's own
/// work.
const LONGEST_CALL: Duration = Duration::from_secs(90);

/// Runs `docker WORDS` and returns what it printed.
pub(super) fn docker<S: AsRef<str>>(words: &[S]) -> Result<String, StackError> {
    let text = words.iter().map(AsRef::as_ref).fold("docker".to_owned(), |text, word| format!("{text} {word}"));
    let failed = |detail: String| StackError::Command { command: text.clone(), detail };
    let mut command = Command::new("docker");
    command.args(words.iter().map(AsRef::as_ref)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Not in the terminal's process group: Ctrl-C must not interrupt a fault halfway.
    command.process_group(0);
    let mut child = command.spawn().map_err(|error| missing(&error))?;
    let mut output = child.stdout.take();
    let mut errors = child.stderr.take();
    let read = |stream: Option<&mut dyn Read>| {
        let mut text = Vec::new();
        let _ = stream.map(|stream| stream.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    };
    thread::scope(|scope| {
        let output = scope.spawn(|| read(output.as_mut().map(|stream| stream as &mut dyn Read)));
        let errors = scope.spawn(|| read(errors.as_mut().map(|stream| stream as &mut dyn Read)));
        let mut status = None;
        let ended = Interrupt::default().wait_while_cleaning(LONGEST_CALL, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        if !ended {
            let _ = child.kill();
            let _ = child.wait();
        }
        let output = output.join().unwrap_or_default();
        let errors = errors.join().unwrap_or_default();
        match status {
            Some(status) if status.success() => Ok(output),
            Some(_) => Err(failed(errors.trim().to_owned())),
            None => Err(failed(format!("no result within {} s", LONGEST_CALL.as_secs()))),
        }
    })
}

/// Checks that the engine answers and that compose is new enough.
pub(super) fn check() -> Result<(), StackError> {
    let engine = docker(&["version", "--format", "{{.Server.Version}}"]);
    if let Err(StackError::Command { detail, .. }) = engine {
        let detail = detail.lines().last().unwrap_or_default().to_owned();
        return Err(StackError::MissingPrograms {
            missing: format!("a Docker engine that answers ({detail})"),
            remedy: "Start it, get access to it, or use `--driver process`, which does not need Docker.".to_owned(),
        });
    }
    engine?;
    let version = docker(&["compose", "version", "--short"]).unwrap_or_default();
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major >= Some(2) {
        return Ok(());
    }
    Err(StackError::MissingPrograms {
        missing: "`docker compose`, version 2 or newer".to_owned(),
        remedy: "Install Docker's package docker-compose-plugin; `deploy/ensure-docker.sh` does it on Debian."
            .to_owned(),
    })
}

fn missing(error: &std::io::Error) -> StackError {
    StackError::MissingPrograms {
        missing: format!("docker ({error})"),
        remedy: "Install it, or use `--driver process`, which does not need Docker.".to_owned(),
    }
}
