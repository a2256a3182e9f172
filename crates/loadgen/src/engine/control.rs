//! How a run is ended from outside, before its plan is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Ends a run; clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<AtomicU8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Wish {
    GoOn,
    Finish,
    Cancel,
}

impl Stopper {
    /// Sends nothing more, and waits for the answers to what was sent. The run counts as complete.
    pub fn finish(&self) {
        self.0.fetch_max(Wish::Finish as u8, Ordering::Relaxed);
    }

    /// Ends within a twentieth of a second. The run counts as interrupted; requests without an answer are reported as in flight.
    pub fn cancel(&self) {
        self.0.fetch_max(Wish::Cancel as u8, Ordering::Relaxed);
    }

    pub(super) fn wish(&self) -> Wish {
        match self.0.load(Ordering::Relaxed) {
            0 => Wish::GoOn,
            1 => Wish::Finish,
            _ => Wish::Cancel,
        }
    }
}
