//! `lab up`: start, show, and without `--detach` stay beside the stack until Ctrl-C.

use std::{path::Path, time::Duration};

use stack::{Operation, Progress, Stack, StackError, UpOptions, Watched, down};

use crate::{Console, Settings, cli::UpArguments, table};

/// How often the foreground looks after its servers.
const LOOK_EVERY: Duration = Duration::from_millis(500);

pub(super) fn run(
    arguments: &UpArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let project = settings.project()?;
    let options = UpOptions {
        driver: arguments.driver.into(),
        folder: folder.to_owned(),
        project,
        host: settings.host.clone(),
        replicas: arguments.replicas,
        phase: arguments.phase,
        env: arguments.env.clone(),
        port: arguments.port,
        cpus: arguments.cpus,
        // Absolute: the replicas run in another folder.
        api: std::path::absolute(arguments.api_bin.as_ref().unwrap_or(&settings.api))
            .map_err(|source| StackError::Io { what: "cannot tell the current folder".to_owned(), source })?,
        install: !arguments.no_install,
    };
    let stack = Stack::up(&options, operation)?;
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
    console.print("\nCtrl-C stops the stack; faults can be given from another terminal.");
    attend(&stack, console, operation)
}

/// An interrupt here comes while the stack is complete: nothing of it may stay.
fn observe(stack: &Stack, settings: &Settings, operation: &Operation<'_>) -> Result<Vec<String>, StackError> {
    stack.observe(&settings.host, operation).inspect_err(|_| {
        // The first error is the one to tell.
        let _ = down(stack.folder(), false, operation);
    })
}

/// Three commands to try next, as they can be copied.
fn suggestions(base_url: &str, folder: &Path, settings: &Settings) -> String {
    let lab = if folder == settings.state_dir {
        settings.program.clone()
    } else {
        format!("{} --state-dir {}", settings.program, folder.display())
    };
    format!(
        "Try next:\n  \
         for i in 1 2 3 4 5 6; do curl -si {base_url}/data/1 | grep -i x-instance; done\n  \
         {lab} fault pause postgres; curl -i {base_url}/data/1; {lab} heal\n  \
         {lab} status"
    )
}

/// Stays until it is interrupted or the stack is stopped from elsewhere.
fn attend(stack: &Stack, console: &Console, operation: &Operation<'_>) -> Result<(), StackError> {
    let mut watched = Watched::default();
    loop {
        operation.interrupt.sleep(LOOK_EVERY);
        if operation.interrupt.count() > 0 {
            console.note("stopping the stack; Ctrl-C again kills it");
            down(stack.folder(), false, operation)?;
            return Err(StackError::Interrupted);
        }
        match stack.watch(&mut watched) {
            Ok(died) => {
                for target in died {
                    console.note(&format!("{target} ended unexpectedly; see its log, `lab heal` starts it again"));
                }
            }
            Err(StackError::NotRunning { .. }) => {
                console.note("the stack was stopped from elsewhere");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
}
