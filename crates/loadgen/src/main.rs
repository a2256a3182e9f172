//! The program `load`; see [`loadgen::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    loadgen::cli::main()
}
