//! Everything that is known in one second, gathered for the page.

use std::{collections::BTreeMap, sync::Arc};

use stack::{Holder, Target};
use time::OffsetDateTime;

use super::{
    events::Event,
    history::Point,
    hub::Look,
    lens::LensResult,
    load::LoadState,
    processes::Usage,
    replica::{Edge, Replica},
    run::RunState,
    tour::LessonState,
};

#[derive(Debug, Clone)]
pub(super) struct View {
    pub(super) now: OffsetDateTime,
    /// As others are told in commands to copy.
    pub(super) program: String,
    pub(super) is_read_only: bool,
    /// Whether the page can start a stack.
    pub(super) can_start: bool,
    pub(super) look: Look,
    /// What each replica said; those that did not answer are missing.
    pub(super) replicas: BTreeMap<Target, Replica>,
    pub(super) usage: BTreeMap<Target, Usage>,
    pub(super) point: Point,
    /// From clients to nginx.
    pub(super) clients: Edge,
    /// Requests per second that nginx sent to a second replica.
    pub(super) retried: f64,
    /// When faults are undone by themselves.
    pub(super) until: BTreeMap<u64, OffsetDateTime>,
    pub(super) events: Vec<Event>,
    pub(super) load: Option<LoadState>,
    pub(super) lens: Option<Arc<LensResult>>,
    /// The last run of the lab on this stack.
    pub(super) run: Option<Arc<RunState>>,
    pub(super) tour: Vec<LessonState>,
    /// A long change that is under way.
    pub(super) busy: Option<String>,
    /// Another program that has the stack to itself.
    pub(super) held_by: Option<Holder>,
}
