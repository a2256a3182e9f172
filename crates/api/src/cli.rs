//! The command line: which verb, and the exit code it ends with.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{
    config::{Config, ConfigErrors},
    lab_faults::LabFault,
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
    /// For the lab: put a fault into a replica on this machine that runs with LAB_FAULTS=on
    Fault {
        /// The replica's process id
        #[arg(long, default_value_t = 1, value_name = "PID")]
        pid: u32,
        #[command(subcommand)]
        command: FaultCommand,
    },
}

#[derive(Debug, Subcommand)]
enum FaultCommand {
    /// Allocate memory and keep it
    Leak {
        /// Bytes per second
        #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
        rate: u64,
        /// Stop growing after so many bytes
        #[arg(long, value_name = "BYTES")]
        most: u64,
    },
    /// Free what was leaked
    Heal,
    /// End the process at once, by abort
    Crash,
}

impl From<FaultCommand> for LabFault {
    fn from(command: FaultCommand) -> Self {
        match command {
            FaultCommand::Leak { rate, most } => Self::Leak { rate, most },
            FaultCommand::Heal => Self::Heal,
            FaultCommand::Crash => Self::Crash,
        }
    }
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check every variable and print the effective values, secrets hidden
    Check,
}

/// Parses the command line and runs it.
pub fn run() -> ExitCode {
    match Cli::parse().command {
        Command::Serve => configured(startup::serve),
        Command::Migrate => configured(|config| startup::migrate(&config)),
        Command::Healthcheck => configured(|config| startup::healthcheck(&config)),
        Command::Config(ConfigCommand::Check) => configured(|config| {
            print!("{config}");
            ExitCode::SUCCESS
        }),
        Command::Fault { pid, command } => startup::fault(pid, command.into()),
    }
}

/// Runs a verb that needs the configuration.
fn configured(verb: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::from_env() {
        Ok(config) => verb(config),
        Err(errors) => bad_config(&errors),
    }
}

fn bad_config(errors: &ConfigErrors) -> ExitCode {
    eprint!("{errors}");
    ExitCode::from(EXIT_CONFIG)
}
