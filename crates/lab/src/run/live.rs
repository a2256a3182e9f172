//! The progress of a running arm, in one line that is overwritten.

use std::sync::{Mutex, PoisonError};

use loadgen::Point;

/// Shows a line that replaces the previous one.
pub struct Live<'a> {
    show: &'a (dyn Fn(&str) + Sync),
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    title: String,
    phase: String,
    at_s: f64,
    sent: u64,
    good: u64,
    bad: u64,
    p95_ms: Option<f64>,
    rate: f64,
    down: Vec<String>,
}

impl std::fmt::Debug for Live<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl<'a> Live<'a> {
    pub fn new(show: &'a (dyn Fn(&str) + Sync)) -> Self {
        Self { show, state: Mutex::default() }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        (self.show)(&state.line());
    }

    pub(super) fn arm(&self, title: &str) {
        self.change(|state| *state = State { title: title.to_owned(), ..State::default() });
    }

    pub(super) fn phase(&self, phase: &str) {
        self.change(|state| phase.clone_into(&mut state.phase));
    }

    pub(super) fn down(&self, down: Vec<String>) {
        self.change(|state| state.down = down);
    }

    pub(super) fn point(&self, point: &Point) {
        let answered: u64 = point.statuses.values().sum();
        self.change(|state| {
            state.at_s = point.at_s + point.seconds;
            state.sent += point.sent;
            state.good += point.succeeded;
            state.bad += answered.saturating_sub(point.succeeded) + point.errors.values().sum::<u64>();
            state.p95_ms = point.p95_ms.or(state.p95_ms);
            state.rate = point.sent as f64 / point.seconds.max(1e-3);
        });
    }

    /// Good answers and failures of the arm so far.
    pub(super) fn answers(&self) -> (u64, u64) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.good, state.bad)
    }
}

impl State {
    fn line(&self) -> String {
        let mut line = format!("{}: {}", self.title, self.phase);
        if self.sent > 0 {
            line += &format!("  {:.0} s  {:.0}/s  good {}  errors {}", self.at_s, self.rate, self.good, self.bad);
            line += &self.p95_ms.map_or_else(String::new, |p95| format!("  p95 {p95:.1} ms"));
        }
        if !self.down.is_empty() {
            line += &format!("  down: {}", self.down.join(", "));
        }
        line
    }
}
