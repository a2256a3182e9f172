//! `load init`: a workload file to begin with, every setting explained where it stands.

use std::path::PathBuf;

use clap::Args;

use super::output::Output;
use super::{ExitResult, print};
use crate::error::LoadError;

/// What is written; a test holds it to what workloads can say.
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
