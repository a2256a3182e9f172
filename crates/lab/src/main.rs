//! `lab`: runs the stack and breaks it on purpose. This is only the entry point; everything is in the library.

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
