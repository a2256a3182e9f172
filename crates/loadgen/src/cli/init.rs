//! `load init`: a workload file to start from, in which every setting is explained.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use super::{ExitResult, print};
use crate::error::LoadError;

/// The content of the file; a test compares it with the settings that workloads support.
pub(super) const TEMPLATE: &str = include_str!("init.toml");

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where to write it; printed when no file is given. A file that exists is left alone.
    file: Option<PathBuf>,
}

pub(super) fn run(args: &InitArgs) -> ExitResult {
    match &args.file {
        None => print(TEMPLATE)?,
        Some(path) if path.exists() => {
            return Err(LoadError::Io {
                verb: "write",
                path: path.clone(),
                source: std::io::Error::new(
                    std::io::ErrorKind::AlreadyExists,
                    "it exists; remove it or choose another name",
                ),
            });
        }
        Some(path) => Output::open(path)?.write(TEMPLATE)?,
    }
    Ok(0)
}
