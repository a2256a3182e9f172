//! Brings the conditions of a row about, and undoes them: each is a fault like any other.

use std::time::Instant;

use stack::{FaultKind, Operation, Stack, StackError, Target};

use super::row::{Condition, Row};

/// Conditions that hold.
#[derive(Debug)]
pub(super) struct Broken;

impl Broken {
    pub(super) fn bring_about(row: &Row, stack: &Stack, operation: &Operation<'_>) -> Result<Self, StackError> {
        let mut conditions = [(Target::Redis, row.redis), (Target::Postgres, row.postgres)];
        if !row.redis_first {
            conditions.reverse();
        }
        for (target, condition) in conditions {
            if let Some(fault) = fault(condition) {
                stack.inject(fault, target, operation)?;
            }
        }
        Ok(Self)
    }

    /// Undoes everything. Returns when the dependencies were back.
    pub(super) fn undo(self, stack: &Stack, operation: &Operation<'_>) -> Result<Instant, StackError> {
        stack.heal(None, operation)?;
        Ok(Instant::now())
    }
}

fn fault(condition: Condition) -> Option<FaultKind> {
    Some(match condition {
        Condition::Up => return None,
        Condition::Killed => FaultKind::Kill,
        Condition::Stopped => FaultKind::Stop,
        Condition::Paused => FaultKind::Pause,
        Condition::Cut => FaultKind::Cut,
        Condition::Locked => FaultKind::LockTable { table: "records".to_owned() },
        Condition::ClientPaused => FaultKind::PauseClients,
        Condition::Starved => FaultKind::LimitConnections { most: 2 },
    })
}
