//! `load report`: shows a recorded run again.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use super::{ExitResult, print};
use crate::report::Report;

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    /// A result of `load run --json`.
    file: PathBuf,
    /// Write the page instead of printing the summary.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

pub(super) fn run(args: &ReportArgs) -> ExitResult {
    let report = Report::read(&args.file)?;
    match &args.html {
        Some(path) => Output::open(path)?.write(&report.to_html())?,
        None => print(&report.to_text())?,
    }
    Ok(0)
}
