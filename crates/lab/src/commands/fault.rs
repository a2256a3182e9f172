//! `lab fault` and `lab heal`.

use std::time::{Duration, Instant};

use stack::{FaultKind, Healed, Operation, Progress, Stack, StackError, Target};

use crate::Console;

pub(super) fn run(
    stack: &Stack,
    kind: FaultKind,
    target: Target,
    time: Option<Duration>,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let Some(time) = time else {
        console.print(&stack.inject(kind, target, operation)?.to_string());
        return Ok(());
    };
    // The fault ends with this function, also on a panic. No other fault ends, because another command may have
    // injected one in the meantime.
    let fault = stack.inject_guarded(kind, target, operation)?;
    console.print(&fault.injected().to_string());
    console.begin(&format!("undoing it in {time:?}"));
    wait(time, operation);
    console.end("now");
    let interrupted = operation.interrupt.check();
    let undo = Operation { progress: operation.progress, interrupt: operation.interrupt.acknowledged() };
    match fault.undo(&undo)? {
        Some(healed) => console.print(&healed.to_string()),
        None => console.print(&format!("{target}: it had been undone already")),
    }
    interrupted
}

pub(super) fn heal(
    stack: &Stack,
    target: Option<Target>,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    match stack.heal(target, operation) {
        Ok(healed) if healed.is_empty() => console.print("nothing to heal: everything is up"),
        Ok(healed) => print(&healed, console),
        Err(StackError::NotAllHealed { healed, failed }) => {
            print(&healed, console);
            return Err(StackError::NotAllHealed { healed, failed });
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

fn print(healed: &[Healed], console: &Console) {
    for line in healed {
        console.print(&line.to_string());
    }
}

fn wait(time: Duration, operation: &Operation<'_>) {
    let end = Instant::now() + time;
    while operation.interrupt.count() == 0 && Instant::now() < end {
        operation.interrupt.sleep(end.saturating_duration_since(Instant::now()));
    }
}
