//! `lab`: runs the stack and breaks it on purpose. Everything is in the library; this is the way in and the exit code.

use std::process::ExitCode;

use clap::Parser;
use lab::{Cli, Console, Settings};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let console = Console::new();
    let done = Settings::from_environment().and_then(|settings| lab::run(&cli, &settings, &console));
    match done.and_then(|()| console.check_printed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console.fail(&error);
            ExitCode::from(lab::exit_code(&error))
        }
    }
}
