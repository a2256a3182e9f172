//! One function per command.

mod console;
mod experiments;
mod fault;
mod history;
mod lesson;
mod logs;
mod report;
mod run;
mod tools;
mod up;

use std::path::Path;

use stack::{Operation, Restart, Stack, StackError, down};

use crate::{
    Cli, Console, Settings,
    cli::{Command, ConfigureArguments},
    run::undo,
    signals, table,
};

/// Runs the parsed command.
pub fn run(cli: &Cli, settings: &Settings, console: &Console) -> Result<(), StackError> {
    if matches!(cli.command, Command::Agent) {
        // Without the lab's signal handler: an agent has nothing to undo, so a signal just ends it.
        return stack::run_agent();
    }
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
        Command::Fault(arguments) => {
            let stack = Stack::connect(folder)?;
            let target = stack.target(&arguments.target)?;
            fault::run(&stack, arguments.kind()?, target, arguments.time, console, &operation)
        }
        Command::Heal { target } => {
            let stack = Stack::connect(folder)?;
            let target = target.as_deref().map(|target| stack.target(target)).transpose()?;
            fault::heal(&stack, target, console, &operation)?;
            // A run that was killed left the stack in another shape. A run in progress restores the shape itself.
            if stack.status()?.session.is_none() && undo::restore(&stack, &operation)? {
                console.print("the stack has the shape again that it had before a run that was cut short");
            }
            Ok(())
        }
        Command::List { json } => experiments::list(*json, console),
        Command::Init { name } => experiments::init(name, console),
        Command::Lesson(arguments) => lesson::run(arguments, folder, settings, console, &operation),
        Command::Report { paths } => report::run(paths, console),
        Command::Run(arguments) => run::run(arguments, folder, settings, console, &operation),
        Command::History(arguments) => history::run(arguments, folder, settings, console, &operation),
        Command::Scale { replicas } => {
            let stack = Stack::connect(folder)?;
            stack.scale(*replicas, &operation)?;
            console.print(&table::render(&stack.status()?));
            Ok(())
        }
        Command::Configure(arguments) => configure(&Stack::connect(folder)?, arguments, console, &operation),
        Command::Restart { all_at_once } => {
            let restart = if *all_at_once { Restart::AllAtOnce } else { Restart::Rolling };
            Stack::connect(folder)?.restart(restart, &operation)
        }
        Command::Console(arguments) => console::run(arguments, folder, settings, console, &operation),
        Command::Judge { journal } => report::judge(journal, console),
        Command::Keeper { why } => crate::console::keep(folder, why, &operation),
        Command::Psql { admin, more } => tools::psql(&Stack::connect(folder)?, *admin, more, settings),
        Command::RedisCli { more } => tools::redis_cli(&Stack::connect(folder)?, more, settings),
        Command::Logs { follow, name } => {
            logs::run(&Stack::connect(folder)?, name.as_deref(), *follow, console, &operation)
        }
        Command::Open { name } => tools::open(&Stack::connect(folder)?, name.as_deref(), settings, console),
        Command::Agent => stack::run_agent(),
    }
}

fn configure(
    stack: &Stack,
    arguments: &ConfigureArguments,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let mut topology = stack.topology()?;
    topology.replicas = arguments.replicas.unwrap_or(topology.replicas);
    topology.phase = arguments.phase.or(topology.phase).filter(|_| !arguments.no_phase);
    topology.cpus = arguments.cpus.or(topology.cpus).filter(|_| !arguments.no_cpus);
    topology.env.retain(|(name, _)| !arguments.unset.contains(name));
    for (name, value) in &arguments.env {
        topology = topology.with(name, value);
    }
    if let Some(connections) = arguments.connections {
        topology = topology.with_connections(connections);
    }
    stack.configure(&topology, operation)?;
    console.print(&table::render(&stack.status()?));
    Ok(())
}

fn status(folder: &Path, json: bool, console: &Console) -> Result<(), StackError> {
    let mut status = Stack::connect(folder).and_then(|stack| stack.status());
    if let (Ok(status), Some(console)) = (&mut status, crate::console::find(folder)) {
        status.observability.insert("console".to_owned(), console.address);
    }
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
                // The same JSON keys, so that a reader needs only one parser.
                console.print(r#"{"driver":null,"base_url":null,"replicas":[],"dependencies":{},"observability":{}}"#);
            }
            Err(error)
        }
        Err(error) => Err(error),
    }
}
