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

/// Generate HTTP load and measure what comes back, honestly.
///
/// Exit codes: 0 no condition failed, 1 a --fail-if condition was met, 2 wrong usage or an invalid run (the numbers say
/// nothing about the server), 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "load", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send requests and report what happened.
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
