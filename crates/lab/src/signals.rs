//! Turns Ctrl-C, SIGTERM and a closed terminal into an `Interrupt`.

use std::{fs, io};

use stack::{Interrupt, StackError};
use tokio::{
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
};

/// From now on these signals no longer end the program; every wait checks the interrupt.
pub(crate) fn catch() -> Result<Interrupt, StackError> {
    start().map_err(|source| StackError::Io { what: "cannot catch signals".to_owned(), source })
}

fn start() -> io::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let streams = {
        let _context = runtime.enter();
        let hang_up = (!hang_up_is_ignored()).then(|| signal(SignalKind::hangup())).transpose()?;
        [Some(signal(SignalKind::interrupt())?), Some(signal(SignalKind::terminate())?), hang_up]
    };
    let raised = interrupt.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let [mut interrupted, mut terminated, mut hung_up] = streams;
            loop {
                tokio::select! {
                    () = next(&mut interrupted) => {}
                    () = next(&mut terminated) => {}
                    () = next(&mut hung_up) => {}
                }
                raised.raise();
            }
        });
    })?;
    Ok(interrupt)
}

async fn next(stream: &mut Option<Signal>) {
    let received = match stream {
        Some(stream) => stream.recv().await,
        None => None,
    };
    if received.is_none() {
        std::future::pending::<()>().await;
    }
}

/// `nohup lab up` must survive the end of its terminal.
fn hang_up_is_ignored() -> bool {
    const HANG_UP: u64 = 1;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & HANG_UP != 0)
}
