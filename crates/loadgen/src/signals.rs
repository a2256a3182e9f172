//! The signals that ask a program to end: Ctrl-C, SIGTERM, and the end of the terminal.

use std::io;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Receives these signals, which no longer end the program once this exists.
#[derive(Debug)]
pub struct Signals(Vec<Signal>);

impl Signals {
    /// Listens, within a tokio runtime.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn listen() -> io::Result<Self> {
        let kinds = [Some(SignalKind::interrupt()), Some(SignalKind::terminate()), hangup()];
        kinds.into_iter().flatten().map(signal).collect::<io::Result<_>>().map(Self)
    }

    /// Waits for the next of them.
    pub async fn any(&mut self) {
        std::future::poll_fn(|context| {
            let is_here = self.0.iter_mut().any(|signal| signal.poll_recv(context).is_ready());
            if is_here { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// SIGHUP, unless it was ignored from the start, as `nohup` does.
fn hangup() -> Option<SignalKind> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let signal = SignalKind::hangup();
    ((ignored >> (signal.as_raw_value() - 1)) & 1 == 0).then_some(signal)
}
