//! The log of what was done from this page and what it did, newest first when shown.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use time::OffsetDateTime;

/// More than a lesson makes.
const MOST: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    Done,
    Failed,
}

#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) id: u64,
    pub(super) at: OffsetDateTime,
    pub(super) what: String,
    /// The command line that does the same.
    pub(super) command: Option<String>,
    pub(super) outcome: Outcome,
    /// What was measured, in the order in which it happened.
    pub(super) effects: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct EventLog(Mutex<VecDeque<Event>>);

impl EventLog {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Event>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number by which the event is known.
    pub(super) fn begin(&self, what: &str, command: Option<String>) -> u64 {
        let mut events = self.lock();
        let id = events.back().map_or(1, |event| event.id + 1);
        events.push_back(Event {
            id,
            at: OffsetDateTime::now_utc(),
            what: what.to_owned(),
            command,
            outcome: Outcome::Running,
            effects: Vec::new(),
        });
        while events.len() > MOST {
            events.pop_front();
        }
        id
    }

    /// Something that happened by itself.
    pub(super) fn note(&self, what: &str, effect: &str) {
        let id = self.begin(what, None);
        self.effect(id, effect);
        self.end(id, Outcome::Done);
    }

    pub(super) fn effect(&self, id: u64, effect: &str) {
        self.change(id, |event| event.effects.push(effect.to_owned()));
    }

    /// In the place of what an observer said before.
    pub(super) fn set_effects(&self, id: u64, effects: &[String]) {
        self.change(id, |event| effects.clone_into(&mut event.effects));
    }

    pub(super) fn end(&self, id: u64, outcome: Outcome) {
        self.change(id, |event| event.outcome = outcome);
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Event)) {
        if let Some(event) = self.lock().iter_mut().rev().find(|event| event.id == id) {
            change(event);
        }
    }

    pub(super) fn all(&self) -> Vec<Event> {
        self.lock().iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_events_make_room_and_numbers_go_on() {
        let log = EventLog::default();
        for _ in 0..MOST + 5 {
            log.begin("x", None);
        }
        let last = log.begin("y", Some("lab heal".to_owned()));
        log.effect(last, "healed in 3 ms");
        log.end(last, Outcome::Done);
        let events = log.all();
        assert_eq!((events.len(), events[MOST - 1].id), (MOST, MOST as u64 + 6));
        assert_eq!(events[MOST - 1].effects, ["healed in 3 ms"]);
    }
}
