//! The right to change the stack. The console reserves it when it first acts and lets it go when nothing of it is left: no
//! fault, no load, no action. While it only watches, any other lab may take the stack.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Instant,
};

use stack::{Operation, Session, Stack, StackError};
use time::OffsetDateTime;

use super::keeper::Keeper;

/// A fault that this console gave.
#[derive(Debug)]
struct Given {
    /// Keeps the stack reserved.
    _session: Arc<Session>,
    /// When it is undone by itself.
    until: Option<OffsetDateTime>,
    since: Instant,
}

/// Who uses the session: it ends with the last of them.
#[derive(Debug)]
pub(super) struct Hold {
    folder: PathBuf,
    /// What others are told; also by which the keeper knows the console's faults.
    why: String,
    agent: PathBuf,
    session: Mutex<Weak<Session>>,
    keeper: Mutex<Option<Keeper>>,
    given: Mutex<BTreeMap<u64, Given>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hold {
    /// `agent` is this program: it is started anew as the keeper.
    pub(super) fn new(folder: PathBuf, why: String, agent: PathBuf) -> Self {
        Self { folder, why, agent, session: Mutex::default(), keeper: Mutex::default(), given: Mutex::default() }
    }

    /// The session that there is, or a new one. It ends when the last of these is dropped.
    ///
    /// # Errors
    /// [`StackError::Held`] when another program has the stack.
    pub(super) fn take(&self, operation: &Operation<'_>) -> Result<Arc<Session>, StackError> {
        let mut current = lock(&self.session);
        if let Some(session) = current.upgrade() {
            return Ok(session);
        }
        let stack = Stack::connect(&self.folder)?;
        let mut keeper = lock(&self.keeper);
        if !keeper.as_mut().is_some_and(Keeper::is_there) {
            *keeper = Some(Keeper::start(&self.agent, &self.folder, &self.why)?);
        }
        let session = Arc::new(stack.reserve(&self.why, operation)?);
        *current = Arc::downgrade(&session);
        Ok(session)
    }

    /// Keeps the session for as long as this fault is there.
    pub(super) fn keep(&self, id: u64, session: Arc<Session>, until: Option<OffsetDateTime>) {
        lock(&self.given).insert(id, Given { _session: session, until, since: Instant::now() });
    }

    pub(super) fn let_go(&self, id: u64) {
        // Dropped outside of the lock: the last one undoes what is left.
        let given = lock(&self.given).remove(&id);
        drop(given);
    }

    pub(super) fn has(&self, id: u64) -> bool {
        lock(&self.given).contains_key(&id)
    }

    /// When a fault is undone by itself.
    pub(super) fn until(&self, id: u64) -> Option<OffsetDateTime> {
        lock(&self.given).get(&id).and_then(|given| given.until)
    }

    /// Lets go of what the ledger, as it was read at `looked`, does not know any more.
    pub(super) fn reconcile(&self, known: &[u64], looked: Instant) {
        let mut given = lock(&self.given);
        let gone: Vec<u64> =
            given.iter().filter(|(id, given)| !known.contains(id) && given.since < looked).map(|(id, _)| *id).collect();
        let over: Vec<Given> = gone.iter().filter_map(|id| given.remove(id)).collect();
        drop(given);
        drop(over);
    }

    /// Undoes every fault of this console; called once, at its end, when all else that used the session has ended.
    ///
    /// # Errors
    /// What could not be undone; `lab heal` still knows of it.
    pub(super) fn end(&self, operation: &Operation<'_>) -> Result<Vec<stack::Healed>, StackError> {
        let Some(session) = lock(&self.session).upgrade() else { return Ok(Vec::new()) };
        let given = std::mem::take(&mut *lock(&self.given));
        drop(given);
        match Arc::into_inner(session) {
            Some(session) => session.end(operation),
            // An action is still at it; the keeper undoes what it leaves.
            None => Ok(Vec::new()),
        }
    }
}
