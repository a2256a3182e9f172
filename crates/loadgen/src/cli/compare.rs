//! `load compare`: two recorded results side by side.

use std::path::PathBuf;

use clap::Args;

use super::{ExitResult, INVALID, print};
use crate::compare::{Comparison, Finding};
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// The result of an earlier `load run --json`, best with --repeat 5 or more.
    base: PathBuf,
    /// The result to compare with it.
    new: PathBuf,
    /// Exit with 1 when the new side is significantly worse in throughput, latency or failures, and with 2 when one of
    /// these could not be judged.
    #[arg(long)]
    fail_if_worse: bool,
    /// Show the numbers of sides that cannot be compared. There is no finding then.
    #[arg(long, conflicts_with = "fail_if_worse")]
    force: bool,
}

pub(super) fn run(args: &CompareArgs) -> ExitResult {
    let comparison = Comparison::new(&Report::read(&args.base)?, &Report::read(&args.new)?);
    print(&comparison.to_text())?;
    if !comparison.refusals.is_empty() {
        return Ok(if args.force { 0 } else { INVALID });
    }
    let findings = comparison.findings();
    let any = |is: fn(Finding) -> bool| findings.iter().any(|(_, finding)| is(*finding));
    Ok(match args.fail_if_worse {
        true if any(Finding::is_worse) => 1,
        true if any(|finding| finding == Finding::Unjudged) => INVALID,
        _ => 0,
    })
}
