//! `lab up`: starts the stack, shows it, and without `--detach` keeps watching it until Ctrl-C.

use std::{path::Path, time::Duration};

use stack::{Operation, Progress, Stack, StackError, UpOptions, Watched, down};

use crate::{
    Console, Settings,
    cli::{DriverArgument, UpArguments},
    table,
};

/// How often the foreground process checks its servers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(
    arguments: &UpArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let stack = Stack::up(&options(arguments, folder, settings)?, operation)?;
    if arguments.observe {
        for note in observe(&stack, settings, operation)? {
            console.note(&note);
        }
    }
    let status = stack.status()?;
    console.print(&format!("\n{}\n\n{}", table::render(&status), suggestions(&status.base_url, folder, settings)));
    if arguments.detach {
        return Ok(());
    }
    if !arguments.console {
        console.print("\nCtrl-C stops the stack; faults can be given from another terminal.");
        return attend(&stack, console, operation);
    }
    let page = super::console::beside(&stack, settings, console).inspect_err(|_| {
        // A failed start must leave nothing behind; the first error is returned.
        let _ = down(stack.folder(), false, operation);
    })?;
    console.print("\nCtrl-C ends the console and stops the stack.");
    let watched = watch(&stack, console, operation);
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    // Before the stack is stopped, because the console may have reserved it.
    let ended = page.end(console, &undo);
    leave(&stack, watched, console, operation)?;
    ended
}

/// Like `lab up --detach` without options.
pub(super) fn defaults() -> UpArguments {
    UpArguments {
        driver: DriverArgument::Process,
        replicas: 3,
        detach: true,
        observe: false,
        phase: None,
        env: Vec::new(),
        port: None,
        cpus: None,
        api_bin: None,
        no_install: false,
        console: false,
    }
}

pub(super) fn options(arguments: &UpArguments, folder: &Path, settings: &Settings) -> Result<UpOptions, StackError> {
    Ok(UpOptions {
        driver: arguments.driver.into(),
        folder: folder.to_owned(),
        project: settings.project()?,
        host: settings.host.clone(),
        replicas: arguments.replicas,
        phase: arguments.phase,
        env: arguments.env.clone(),
        port: arguments.port,
        cpus: arguments.cpus,
        // An absolute path, because the replicas run in another folder.
        api: std::path::absolute(arguments.api_bin.as_ref().unwrap_or(&settings.api))
            .map_err(|source| StackError::Io { what: "cannot tell the current folder".to_owned(), source })?,
        install: !arguments.no_install,
    })
}

/// An interrupt may arrive just as the start completes; then the stack is removed too.
fn observe(stack: &Stack, settings: &Settings, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
    stack.observe(&settings.host, operation).inspect_err(|_| {
        // The first error is the one to return.
        let _ = down(stack.folder(), false, operation);
    })
}

/// Three commands to try next, ready to copy.
fn suggestions(base_url: &str, folder: &Path, settings: &Settings) -> String {
    let lab = crate::console::program(&settings.program, folder, &settings.state_dir);
    format!(
        "Try next:\n  \
         for i in 1 2 3 4 5 6; do curl -si {base_url}/data/1 | grep -i x-instance; done\n  \
         {lab} fault pause postgres; curl -i {base_url}/data/1; {lab} heal\n  \
         {lab} status"
    )
}

/// Why the foreground process stopped watching the stack.
#[derive(Debug, PartialEq)]
enum Watch {
    Interrupted,
    StoppedElsewhere,
}

/// Watches until it is interrupted or the stack is stopped by another command.
fn attend(stack: &Stack, console: &Console, operation: &Operation<'_>) -> Result<(), StackError> {
    leave(stack, watch(stack, console, operation), console, operation)
}

fn leave(
    stack: &Stack,
    watched: Result<Watch, StackError>,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    match watched? {
        Watch::Interrupted => {
            console.note("stopping the stack; Ctrl-C again kills it");
            down(stack.folder(), false, operation)?;
            Err(StackError::Interrupted)
        }
        Watch::StoppedElsewhere => {
            console.note("the stack was stopped from elsewhere");
            Ok(())
        }
    }
}

fn watch(stack: &Stack, console: &Console, operation: &Operation<'_>) -> Result<Watch, StackError> {
    let mut watched = Watched::default();
    loop {
        operation.interrupt.sleep(LOOK_EVERY);
        if operation.interrupt.count() > 0 {
            return Ok(Watch::Interrupted);
        }
        match stack.watch(&mut watched) {
            Ok(died) => {
                for target in died {
                    console.note(&format!("{target} ended unexpectedly; see its log, `lab heal` starts it again"));
                }
            }
            Err(StackError::NotRunning { .. }) => return Ok(Watch::StoppedElsewhere),
            Err(error) => return Err(error),
        }
    }
}
