//! `lab fault` and `lab heal`.

use std::time::{Duration, Instant};

use stack::{FaultKind, Operation, Progress, Stack, StackError, Target};

use crate::Console;

pub(super) fn run(
    stack: &Stack,
    kind: FaultKind,
    target: Target,
    time: Option<Duration>,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let injected = stack.inject(kind, target, operation);
    if let Ok(done) = &injected {
        console.print(done);
    }
    let Some(time) = time else { return injected.map(drop) };
    let interrupted = match injected {
        Ok(_) => {
            console.begin(&format!("undoing it in {time:?}"));
            wait(time, operation);
            console.end("now");
            operation.interrupt.check().is_err()
        }
        Err(StackError::Interrupted) => true,
        Err(error) => return Err(error),
    };
    // Also after an interrupt: whoever asked for a time does not want the fault to stay.
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    heal(stack, Some(target), console, &undo)?;
    if interrupted { Err(StackError::Interrupted) } else { Ok(()) }
}

pub(super) fn heal(
    stack: &Stack,
    target: Option<Target>,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let done = stack.heal(target, operation)?;
    if done.is_empty() {
        console.print("nothing to heal: everything is up");
    }
    for line in done {
        console.print(&line);
    }
    Ok(())
}

fn wait(time: Duration, operation: &Operation<'_>) {
    let end = Instant::now() + time;
    while operation.interrupt.count() == 0 && Instant::now() < end {
        operation.interrupt.sleep(end.saturating_duration_since(Instant::now()));
    }
}
