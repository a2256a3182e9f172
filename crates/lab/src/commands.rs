//! One function per command.

mod fallbacks;
mod fault;
mod history;
mod up;

use std::path::Path;

use stack::{Operation, Stack, StackError, down};

use crate::{Cli, Console, Settings, cli::Command, signals, table};

/// Does what the command line says.
pub fn run(cli: &Cli, settings: &Settings, console: &Console) -> Result<(), StackError> {
    let operation = Operation { progress: console, interrupt: signals::catch()? };
    let folder = cli.state_dir.as_deref().unwrap_or(&settings.state_dir);
    match &cli.command {
        Command::Up(arguments) => up::run(arguments, folder, settings, console, &operation),
        Command::Down { purge } => {
            let found = down(folder, *purge, &operation)?;
            console.print(if found { "the stack is down" } else { "no stack is running" });
            Ok(())
        }
        Command::Status { json } => status(folder, *json, console),
        Command::Fault { kind, target, time } => {
            let stack = Stack::connect(folder)?;
            let target = stack.target(target)?;
            fault::run(&stack, (*kind).into(), target, *time, console, &operation)
        }
        Command::Heal { target } => {
            let stack = Stack::connect(folder)?;
            let target = target.as_deref().map(|target| stack.target(target)).transpose()?;
            fault::heal(&stack, target, console, &operation)
        }
        Command::Fallbacks { out, tolerance } => {
            fallbacks::run(out.as_deref(), *tolerance, folder, settings, console, &operation)
        }
        Command::History(arguments) => history::run(arguments, folder, settings, console, &operation),
        Command::Scale { replicas } => {
            let stack = Stack::connect(folder)?;
            stack.scale(*replicas, &operation)?;
            console.print(&table::render(&stack.status()?));
            Ok(())
        }
    }
}

fn status(folder: &Path, json: bool, console: &Console) -> Result<(), StackError> {
    let status = Stack::connect(folder).and_then(|stack| stack.status());
    match status {
        Ok(status) if json => {
            let text = serde_json::to_string_pretty(&status).map_err(|error| StackError::Io {
                what: "cannot write the status as JSON".to_owned(),
                source: error.into(),
            })?;
            console.print(&text);
            Ok(())
        }
        Ok(status) => {
            console.print(&table::render(&status));
            Ok(())
        }
        Err(error @ StackError::NotRunning { .. }) => {
            if json {
                // The same keys, so that a reader needs no second way to look.
                console.print(r#"{"driver":null,"base_url":null,"replicas":[],"dependencies":{},"observability":{}}"#);
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}
