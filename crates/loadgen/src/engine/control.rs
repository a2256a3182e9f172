//! Ends a run early, from outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Ends a run; clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<AtomicU8>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum StopRequest {
    None,
    Finish,
    Abort,
    Cancel,
}

impl Stopper {
    /// Sends no more requests, and waits for the outstanding answers. The run counts as complete, and its report says
    /// that it was ended early.
    pub fn finish(&self) {
        self.0.fetch_max(StopRequest::Finish as u8, Ordering::Relaxed);
    }

    /// Like [`Stopper::finish`], because a condition is broken.
    pub(super) fn abort(&self) {
        self.0.fetch_max(StopRequest::Abort as u8, Ordering::Relaxed);
    }

    /// Ends within 50 ms. The run counts as interrupted; requests without an answer are reported as in flight.
    pub fn cancel(&self) {
        self.0.fetch_max(StopRequest::Cancel as u8, Ordering::Relaxed);
    }

    pub(super) fn request(&self) -> StopRequest {
        match self.0.load(Ordering::Relaxed) {
            0 => StopRequest::None,
            1 => StopRequest::Finish,
            2 => StopRequest::Abort,
            _ => StopRequest::Cancel,
        }
    }
}
