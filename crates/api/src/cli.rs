//! The command line: which verb, and the exit code it ends with.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigErrors},
    startup,
};

/// The configuration is wrong (`EX_USAGE` of sysexits.h).
const EXIT_CONFIG: u8 = 64;

/// The phase-observation API: records over Postgres, cached in Redis.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Configuration comes from environment variables; `api config check` lists them all.\n\
    Exit codes: 0 done, 1 failed, 64 bad configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve HTTP until SIGTERM or SIGINT; a second signal ends it at once
    Serve,
    /// Bring the database up to date and create the demo records once; waits up to 30 s for Postgres
    Migrate,
    /// Ask the replica on this machine for /readyz: exit 0 when it is ready, 1 when it is not
    Healthcheck,
    /// Look at the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check every variable and print the effective values, secrets hidden
    Check,
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(errors) => return bad_config(&errors),
    };
    match cli.command {
        Command::Serve => startup::serve(config),
        Command::Migrate => startup::migrate(&config),
        Command::Healthcheck => startup::healthcheck(&config),
        Command::Config(ConfigCommand::Check) => {
            print!("{config}");
            ExitCode::SUCCESS
        }
    }
}

fn bad_config(errors: &ConfigErrors) -> ExitCode {
    eprint!("{errors}");
    ExitCode::from(EXIT_CONFIG)
}
