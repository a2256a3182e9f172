//! `load compare`: two recorded runs side by side.

use std::path::PathBuf;

use clap::Args;

use super::{ExitResult, print};
use crate::compare::{Comparison, Finding};
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct CompareArgs {
    /// What `load run --json` wrote before, best with --repeat 5 or more.
    base: PathBuf,
    /// What it wrote after.
    new: PathBuf,
    /// Exit with 1 when the new side is significantly worse, in throughput or in latency.
    #[arg(long)]
    fail_if_worse: bool,
}

pub(super) fn run(args: &CompareArgs) -> ExitResult {
    let comparison = Comparison::new(&Report::read(&args.base)?, &Report::read(&args.new)?);
    print(&comparison.to_text())?;
    let is_worse = [&comparison.throughput, &comparison.latency]
        .into_iter()
        .any(|rows| matches!(Comparison::overall(rows), Finding::Worse | Finding::Mixed));
    Ok(u8::from(args.fail_if_worse && is_worse))
}
