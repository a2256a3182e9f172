//! The command line of `load`: what can be asked for, and the exit codes. Each subcommand is a file of its own.

mod compare;
mod live;
mod output;
mod report;
mod run;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::LoadError;

/// The exit code for usage errors and invalid runs.
const INVALID: u8 = 2;

const RUN_EXAMPLES: &str = "\
Examples:
  load run http://127.0.0.1:8080/data/1 --requests 100 --connections 10    the notes' run
  load run http://127.0.0.1:8080/data/1 --rate 500 --json a.json --html a.html --fail-if 'p95>320ms'
  load run 'http://127.0.0.1:8080/data/{id}' --ids 1..1000 --stages 100..500:30s,500:30s --arrivals poisson
  load run http://127.0.0.1:8080 --workload load-tests/read-write.toml --duration 1m

Exit codes: 0 held, 1 a condition failed, 2 wrong usage or an invalid run, 130 interrupted.";

/// Generate HTTP load and measure what comes back, honestly.
///
/// Latency counts from the moment a request should have been sent; time-outs are in the percentiles; a run in which the
/// generator itself was the bottleneck says so and is no result.
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
    /// Set two recorded runs side by side, and say whether the difference is one.
    Compare(compare::CompareArgs),
    /// Show a recorded run again, as a summary or a page.
    Report(report::ReportArgs),
}

/// Parses, does it, and turns the result into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Report(args) => report::run(&args),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::from(INVALID)
        }
    }
}

/// What a subcommand returns: the exit code, or what kept it from having one.
type ExitResult = Result<u8, LoadError>;

/// Prints a result; one that cannot be printed is an error and no panic.
fn print(text: &str) -> Result<(), LoadError> {
    let mut out = std::io::stdout().lock();
    let done = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    done.map_err(|source| LoadError::Io { verb: "write", path: "standard output".into(), source })
}
