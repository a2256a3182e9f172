//! The program `load`: everything it does is in [`loadgen::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::cli::main()
}
