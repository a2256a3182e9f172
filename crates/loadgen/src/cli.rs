//! The command line of `load`: the subcommands, each in its own file, and the exit codes.

mod ab;
mod args;
mod compare;
mod init;
mod live;
mod output;
mod program;
mod raw;
mod report;
mod run;

use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use tokio::sync::oneshot;

use crate::error::LoadError;
use crate::report::Outcome;
use crate::signals::Signals;
use crate::{secrets, shell};

/// The exit code for usage errors and invalid runs.
const INVALID: u8 = 2;

const RUN_EXAMPLES: &str = "\
Examples:
  load run http://127.0.0.1:8080/data/1 --requests 100 --connections 10    the notes' run
  load run http://127.0.0.1:8080/data/1 --rate 500 --json a.json --html a.html --fail-if 'p95>320ms'
  load run 'http://127.0.0.1:8080/data/{id}' --ids 1..1000 --stages 100..500:30s,500:30s --arrivals poisson
  load run http://127.0.0.1:8080/data/1 http://127.0.0.1:8080/data --weights 9,1
  load run http://127.0.0.1:8080 --workload load-tests/read-write.toml --duration 1m

Exit codes: 0 held, 1 a condition failed or nothing succeeded, 2 wrong usage or an invalid run, 130 interrupted.";

const AB_EXAMPLES: &str = "\
Examples:
  load ab http://127.0.0.1:8080/data/1 http://127.0.0.1:8081/data/1 --connections 32
  load ab reads.toml zipf.toml --target http://127.0.0.1:8080
  load ab './old serve' './new serve' --target http://127.0.0.1:8080/data/1 --fail-if-worse

Exit codes: 0 measured (with --fail-if-worse: not worse), 1 worse, 2 wrong usage, invalid or not judged, 130 interrupted.";

/// Generate HTTP load and measure the answers, honestly.
///
/// Latency counts from the time at which a request should have been sent; time-outs are included in the percentiles;
/// failures do not count as fast answers; a run in which the generator itself was the bottleneck is invalid.
#[derive(Debug, Parser)]
#[command(name = "load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send requests and report what happened.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<run::RunArgs>),
    /// Measure two sides alternately, and say whether they differ.
    #[command(after_help = AB_EXAMPLES)]
    Ab(Box<ab::AbArgs>),
    /// Compare two recorded results, and say whether they differ.
    Compare(compare::CompareArgs),
    /// Show a recorded run again, as a summary or a page.
    Report(report::ReportArgs),
    /// Write a workload file to start from.
    Init(init::InitArgs),
}

/// Parses the command line, runs it, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Ab(args) => ab::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
        Command::Init(args) => init::run(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody may read it any more; the exit code says it, too.
            let _gone = writeln!(io::stderr(), "load: {error}");
            let is_interrupted = matches!(error, LoadError::Interrupted { .. });
            ExitCode::from(if is_interrupted { Outcome::Interrupted.exit_code() } else { INVALID })
        }
    }
}

/// The result of a subcommand: the exit code, or the error.
type ExitResult = Result<u8, LoadError>;

/// Prints a result. A failure to print is an error, not a panic.
fn print(text: &str) -> Result<(), LoadError> {
    let mut out = io::stdout().lock();
    let done = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    done.map_err(|source| LoadError::Io { verb: "write", path: "standard output".into(), source })
}

/// The runtime that watches a run: one thread, signals and channels.
fn runtime() -> Result<tokio::runtime::Runtime, LoadError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|source| LoadError::System { what: "start the runtime", source })
}

fn listen() -> Result<Signals, LoadError> {
    Signals::listen().map_err(|source| LoadError::System { what: "listen for signals", source })
}

/// Does what may block, on a thread of its own. After a signal it has `grace` to come to its end; then it is left behind.
async fn unless_interrupted<T: Send + 'static>(
    signals: &mut Signals,
    grace: Duration,
    what: &'static str,
    work: impl FnOnce() -> Result<T, LoadError> + Send + 'static,
) -> Result<T, LoadError> {
    let failed = |source| LoadError::System { what: "start a thread", source };
    let (done, mut result) = oneshot::channel();
    let work = move || {
        // Nobody waits for it after an interrupt.
        let _left_behind = done.send(work());
    };
    thread::Builder::new().name("load-waiting".to_owned()).spawn(work).map_err(failed)?;
    let ended = tokio::select! {
        ended = &mut result => Some(ended),
        () = signals.any() => None,
    };
    let ended = match ended {
        Some(ended) => Some(ended),
        None => tokio::time::timeout(grace, result).await.ok(),
    };
    match ended {
        Some(Ok(result)) => result,
        Some(Err(_)) => Err(failed(io::Error::other("it panicked"))),
        None => Err(LoadError::Interrupted { what }),
    }
}

/// The command as it can be typed again, but for what must not be kept.
fn command_line() -> String {
    quoted(std::env::args())
}

fn quoted(arguments: impl Iterator<Item = String>) -> String {
    let arguments = secrets::mask_arguments(arguments.skip(1)).into_iter().map(|text| shell::quote(&text));
    std::iter::once("load".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed_again() {
        let typed =
            ["target/release/load", "run", "http://h/{id}", "--fail-if", "p95>320ms", "-H", "X: it's", "--rate", "5"];
        assert_eq!(
            quoted(typed.into_iter().map(str::to_owned)),
            r"load run 'http://h/{id}' --fail-if 'p95>320ms' -H 'X: it'\''s' --rate 5"
        );
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
