//! The `lab` command: its arguments, its output and its exit code. The crate `stack` does the work.

mod admin;
mod cli;
mod client;
mod commands;
mod console;
pub mod experiment;
pub mod experiments;
pub mod history;
pub mod hypothesis;
pub mod journal;
pub mod lesson;
mod metrics;
mod price;
mod prober;
pub mod report;
pub mod run;
mod settings;
mod signals;
mod table;
mod terminal;
pub mod verdict;

pub use cli::Cli;
pub use commands::run;
pub use settings::Settings;
pub use terminal::Console;

use stack::StackError;

/// 0 success; 1 failure; 2 the request cannot be fulfilled as given; 130 interrupted.
#[must_use]
pub fn exit_code(error: &StackError) -> u8 {
    match error {
        StackError::Interrupted => 130,
        StackError::Usage(_)
        | StackError::UnknownTarget { .. }
        | StackError::NotPermitted { .. }
        | StackError::AlreadyRunning { .. }
        | StackError::Busy { .. }
        | StackError::Held { .. } => 2,
        StackError::NotRunning { .. }
        | StackError::Conflict(_)
        | StackError::NotConfirmed(_)
        | StackError::NotAllHealed { .. }
        | StackError::PortTaken { .. }
        | StackError::MissingPrograms { .. }
        | StackError::Start { .. }
        | StackError::Command { .. }
        | StackError::Record { .. }
        | StackError::Io { .. } => 1,
    }
}
