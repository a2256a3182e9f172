//! The guided tour: lessons as steps, each with what to do, a prediction, what was seen and why. A step is done when the
//! stack itself shows that it was; what was seen is measured in that time.

mod lessons;

use stack::{FaultKind, Status, Target, Topology};

use super::{history::Point, hub::RestartSeen};

pub(super) use lessons::LESSONS;

/// One second of the stack, as steps judge it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) status: &'a Status,
    pub(super) topology: &'a Topology,
    pub(super) point: &'a Point,
    pub(super) restart: Option<RestartSeen>,
    /// Requests per second that the load panel sends.
    pub(super) load: Option<f64>,
    pub(super) has_curve: bool,
}

impl Facts<'_> {
    fn replicas(&self) -> u32 {
        self.topology.replicas
    }

    /// Whether a fault has taken effect.
    fn has(&self, is_it: impl Fn(Target, &FaultKind) -> bool) -> bool {
        self.status.faults().any(|fault| fault.took_effect_at.is_some() && is_it(fault.target, &fault.kind))
    }

    fn is_set(&self, variable: &str, fits: impl Fn(&str) -> bool) -> bool {
        self.topology.env.iter().any(|(name, value)| name == variable && fits(value))
    }

    fn is_whole(&self) -> bool {
        self.status.faults().next().is_none()
    }

    fn has_traffic(&self) -> bool {
        self.point.total() >= 5.0
    }
}

/// The seconds in which a step's condition held.
#[derive(Debug, Clone, Default)]
pub(super) struct Window(Vec<Point>);

impl Window {
    fn total(&self) -> f64 {
        self.0.iter().map(Point::total).sum()
    }

    /// In percent of all requests.
    fn share(&self, of: impl Fn(&Point) -> f64) -> f64 {
        let total = self.total();
        if total > 0.0 { 100.0 * self.0.iter().map(of).sum::<f64>() / total } else { 0.0 }
    }

    fn failed(&self) -> f64 {
        self.share(Point::failed)
    }

    /// Over the seconds in which a good answer came, the median of their values.
    fn typical(&self, of: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.0.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    fn p95(&self) -> String {
        self.typical(|point| point.p95_ms)
            .map_or_else(|| "no good answer came".to_owned(), |ms| format!("p95 {ms:.0} ms"))
    }

    /// Reads that Redis answered, in percent.
    fn hits(&self) -> f64 {
        let of = |point: &Point| point.hit.unwrap_or(0.0) + point.stale.unwrap_or(0.0);
        let all = |point: &Point| of(point) + point.miss.unwrap_or(0.0) + point.bypass.unwrap_or(0.0);
        let total: f64 = self.0.iter().map(all).sum();
        if total > 0.0 { 100.0 * self.0.iter().map(of).sum::<f64>() / total } else { 0.0 }
    }

    fn rate(&self) -> f64 {
        self.total() / (self.0.len().max(1)) as f64
    }
}

/// What the learner does, and how the stack shows it.
pub(super) struct Step {
    pub(super) title: &'static str,
    pub(super) action: &'static str,
    pub(super) question: &'static str,
    pub(super) choices: &'static [&'static str],
    pub(super) why: &'static str,
    /// For so many seconds in a row `is_so` has to hold.
    seconds: usize,
    is_so: fn(&Facts<'_>) -> bool,
    saw: fn(&Window) -> String,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step").field("title", &self.title).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Lesson {
    pub(super) title: &'static str,
    pub(super) promise: &'static str,
    pub(super) steps: &'static [Step],
}

/// How far each lesson is. Kept by the server: every viewer is at the same step.
#[derive(Debug)]
pub(super) struct Tour {
    lessons: Vec<Progress>,
    restart: Option<RestartSeen>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    saw: Vec<String>,
    window: Window,
}

/// What the page shows of a lesson.
#[derive(Debug, Clone)]
pub(super) struct LessonState {
    /// What was seen in the steps that are done.
    pub(super) saw: Vec<String>,
    /// Seconds for which the present step's condition has held, of those it has to.
    pub(super) held: usize,
    pub(super) needed: usize,
}

impl Default for Tour {
    fn default() -> Self {
        Self { lessons: vec![Progress::default(); LESSONS.len()], restart: None }
    }
}

impl Tour {
    /// Takes in one more second; `points` are those up to now, for steps that look back.
    pub(super) fn advance(&mut self, facts: &Facts<'_>, points: &[Point]) {
        // A restart is judged once, when it is over.
        let restart = facts.restart.filter(|restart| self.restart != Some(*restart));
        self.restart = facts.restart;
        let facts = Facts { restart, ..*facts };
        for (lesson, progress) in LESSONS.iter().zip(&mut self.lessons) {
            let Some(step) = lesson.steps.get(progress.saw.len()) else { continue };
            if !(step.is_so)(&facts) {
                progress.window = Window::default();
                continue;
            }
            match restart {
                Some(restart) => {
                    let within = |point: &&Point| point.at > restart.from && point.at <= restart.to + 1.5;
                    progress.window = Window(points.iter().filter(within).copied().collect());
                }
                None => progress.window.0.push(*facts.point),
            }
            if progress.window.0.len() >= step.seconds {
                progress.saw.push((step.saw)(&progress.window));
                progress.window = Window::default();
            }
        }
    }

    pub(super) fn begin_again(&mut self, lesson: usize) {
        if let Some(progress) = self.lessons.get_mut(lesson) {
            *progress = Progress::default();
        }
    }

    pub(super) fn state(&self) -> Vec<LessonState> {
        let state = |(lesson, progress): (&Lesson, &Progress)| LessonState {
            saw: progress.saw.clone(),
            held: progress.window.0.len(),
            needed: lesson.steps.get(progress.saw.len()).map_or(0, |step| step.seconds),
        };
        LESSONS.iter().zip(&self.lessons).map(state).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> Status {
        let server = serde_json::json!({ "address": "", "state": "up" });
        serde_json::from_value(serde_json::json!({
            "driver": "process", "base_url": "http://127.0.0.1:1", "observability": {},
            "replicas": [{ "name": "api-1", "url": "http://127.0.0.1:2", "state": "up" }],
            "dependencies": { "postgres": server, "redis": server, "nginx": server },
        }))
        .unwrap()
    }

    #[test]
    fn a_step_is_done_when_the_stack_has_shown_it_long_enough() {
        let (status, topology) = (status(), Topology { replicas: 3, ..Topology::default() });
        let mut tour = Tour::default();
        let second = |tour: &mut Tour, good: f64| {
            let point = Point { good: Some(good), p95_ms: Some(3.0), ..Point::default() };
            let facts = Facts {
                status: &status,
                topology: &topology,
                point: &point,
                restart: None,
                load: Some(100.0),
                has_curve: false,
            };
            tour.advance(&facts, &[]);
            tour.state()[0].clone()
        };
        let needed = LESSONS[0].steps[0].seconds;
        for held in 1..needed {
            assert_eq!(second(&mut tour, 100.0).held, held);
        }
        assert_eq!(second(&mut tour, 0.0).held, 0, "without requests it begins again");
        for _ in 0..needed {
            second(&mut tour, 100.0);
        }
        let state = &tour.state()[0];
        assert_eq!(state.saw.len(), 1);
        assert!(state.saw[0].contains("p95 3 ms"), "{:?}", state.saw);
        tour.begin_again(0);
        assert!(tour.state()[0].saw.is_empty());
    }

    #[test]
    fn every_step_asks_and_explains() {
        for step in LESSONS.iter().flat_map(|lesson| lesson.steps) {
            assert!(step.choices.len() >= 2 && step.seconds >= 1, "{step:?}");
            for text in [step.title, step.action, step.question, step.why] {
                assert!(!text.is_empty() && !text.contains("  "), "{step:?}");
            }
        }
    }
}
