//! How an operation reports its progress, independent of where it is shown.

use std::fmt;

use crate::Interrupt;

/// Receives the steps of an operation as they happen.
pub trait Progress: Sync {
    /// A step begins; exactly one `end` follows unless the operation fails.
    fn begin(&self, step: &str);
    /// The step that began last is over.
    fn end(&self, outcome: &str);
    /// A message on its own line.
    fn note(&self, text: &str);
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: &str) {}
    fn end(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

/// The context of every operation: where it reports its steps, and the interrupt that can end it early.
#[derive(Clone)]
pub struct Operation<'a> {
    pub progress: &'a dyn Progress,
    pub interrupt: Interrupt,
}

impl Default for Operation<'_> {
    /// Without output, and never interrupted.
    fn default() -> Self {
        Self { progress: &Silent, interrupt: Interrupt::default() }
    }
}

impl fmt::Debug for Operation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operation").field("interrupt", &self.interrupt).finish_non_exhaustive()
    }
}
