//! The `lab` command: what its arguments mean, what it prints, how it ends. What it does is in the crate `stack`.

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

/// 0 is success; 1 failed; 2 the request cannot be met as it was made; 130 interrupted.
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
