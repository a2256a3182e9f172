//! A fault that is undone when its guard is dropped.

use crate::{Healed, Injected, Operation, Stack, StackError};

/// Undoes its fault, and no other, when it is dropped by a return, an error or a panic.
#[derive(Debug)]
pub struct FaultGuard<'a> {
    stack: &'a Stack,
    injected: Injected,
    done: bool,
}

impl<'a> FaultGuard<'a> {
    pub(crate) fn new(stack: &'a Stack, injected: Injected) -> Self {
        Self { stack, injected, done: false }
    }

    #[must_use]
    pub fn injected(&self) -> &Injected {
        &self.injected
    }

    /// `None`: it was already undone by another program.
    ///
    /// # Errors
    /// It could not be undone; it stays in the ledger for `lab heal`.
    pub fn undo(mut self, operation: &Operation<'_>) -> Result<Option<Healed>, StackError> {
        self.done = true;
        self.stack.undo(self.injected.id, operation)
    }
}

impl Drop for FaultGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            // `drop` cannot return an error; a fault that could not be undone is still in the ledger.
            let _ = self.stack.undo(self.injected.id, &Operation::default());
        }
    }
}
