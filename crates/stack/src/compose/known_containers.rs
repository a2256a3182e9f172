//! The project's containers for callers that ask many times a second. The engine is asked again only after an event, since
//! each call of the `docker` program costs tens of milliseconds of CPU time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    container::{self, Container},
    events::Events,
};
use crate::{StackError, Target};

/// The engine is asked again after this time in any case: the stream of events may have ended, and a change of an
/// address is no event.
const LONGEST_SILENCE: Duration = Duration::from_secs(2);

type Containers = Arc<Vec<(Target, Container)>>;

/// The containers as of the last event.
#[derive(Debug, Default)]
pub(super) struct KnownContainers(Mutex<Option<Seen>>);

#[derive(Debug)]
struct Seen {
    events: Events,
    containers: Containers,
    at: Instant,
}

impl KnownContainers {
    /// The containers of `project`; always the same project for one value.
    pub(super) fn containers(&self, project: &str) -> Result<Containers, StackError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let events = match known.take() {
            Some(current) if !current.events.any() && current.at.elapsed() < LONGEST_SILENCE => {
                let containers = Arc::clone(&current.containers);
                *known = Some(current);
                return Ok(containers);
            }
            Some(old) => old.events,
            None => Events::follow(project),
        };
        // Asked after the event was taken, so that a later event is not missed.
        let at = Instant::now();
        let containers = Arc::new(container::of_project(project)?);
        *known = Some(Seen { events, containers: Arc::clone(&containers), at });
        Ok(containers)
    }
}
