//! Turns Ctrl-C, SIGTERM and a closed terminal into an `Interrupt`.

use std::io;

use loadgen::Signals;
use stack::{Interrupt, StackError};
use tokio::runtime::Builder;

/// From now on these signals no longer end the program; every wait checks the interrupt.
pub(crate) fn catch() -> Result<Interrupt, StackError> {
    start().map_err(|source| StackError::Io { what: "cannot catch signals".to_owned(), source })
}

fn start() -> io::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::listen()?
    };
    let raised = interrupt.clone();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            loop {
                signals.any().await;
                raised.raise();
            }
        });
    })?;
    Ok(interrupt)
}
