//! Signals that end a run. The results so far are reported.

use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::LoadError;

pub(super) struct Signals(Vec<Signal>);

impl Signals {
    /// Listens for Ctrl-C, SIGTERM and the hang-up of the terminal.
    pub(super) fn listen() -> Result<Self, LoadError> {
        let kinds = [Some(SignalKind::interrupt()), Some(SignalKind::terminate()), hangup()];
        let signals = kinds.into_iter().flatten().map(signal).collect::<Result<_, _>>();
        signals.map(Self).map_err(|source| LoadError::System { what: "listen for signals", source })
    }

    /// Waits for the first of them.
    pub(super) async fn any(&mut self) {
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
