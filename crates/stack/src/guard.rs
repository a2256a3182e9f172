//! A fault that is undone when whoever gave it is done with it, however that comes about.

use crate::{Healed, Injected, Operation, Stack, StackError};

/// Undoes its fault, and no other, when it is dropped: by a return, an error or a panic.
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

    /// `None`: it had been undone by somebody else.
    ///
    /// # Errors
    /// It could not be undone; it stays known to `lab heal`.
    pub fn undo(mut self, operation: &Operation<'_>) -> Result<Option<Healed>, StackError> {
        self.done = true;
        self.stack.undo(self.injected.id, operation)
    }
}

impl Drop for FaultGuard<'_> {
    fn drop(&mut self) {
        if !self.done {
            // Nobody is left to be told of an error; what could not be undone is still in the ledger.
            let _ = self.stack.undo(self.injected.id, &Operation::default());
        }
    }
}
