//! Builder methods for experiments written in Rust: `Arm::new("with").watched().at(T, Action::fault(…))`.

use std::time::Duration;

use stack::{FaultKind, Restart, Target};

use super::{
    About, Action, AlertsPlan, Arm, AskPlan, AwaitPlan, Condition, Expect, FaultPlan, Figure, Gate, HealPlan, IdRange,
    LoadPlan, Moment, ProbePlan, RequestPlan, Shape, Step, Via, Window,
};
use crate::hypothesis::Measure;

impl About {
    #[must_use]
    pub fn new(name: &str, question: &str) -> Self {
        Self { name: name.to_owned(), question: question.to_owned(), ..Self::default() }
    }

    /// The number of the source, the lesson, and what they say; a lesson may be empty.
    #[must_use]
    pub fn from(self, seed: &str, lesson: &str, says: &str) -> Self {
        Self { seed: seed.to_owned(), lesson: lesson.to_owned(), says: says.to_owned(), ..self }
    }

    #[must_use]
    pub fn expect(self, expect: &str) -> Self {
        Self { expect: expect.to_owned(), ..self }
    }

    #[must_use]
    pub fn change(self, change: &str) -> Self {
        Self { change: change.to_owned(), ..self }
    }

    /// A figure of the source, shown next to the measurement of this arm.
    #[must_use]
    pub fn figure(mut self, what: &str, theirs: &str, arm: &str, window: &str, measure: Measure) -> Self {
        self.figures.push(Figure {
            what: what.to_owned(),
            theirs: theirs.to_owned(),
            arm: arm.to_owned(),
            measure,
            window: window.to_owned(),
        });
        self
    }
}

impl Arm {
    /// An empty arm on a default stack.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            stack: Shape::default(),
            prepare: Vec::new(),
            load: None,
            probes: Vec::new(),
            steps: Vec::new(),
            windows: Vec::new(),
            alerts: None,
            gate: Gate::default(),
        }
    }

    #[must_use]
    pub fn on(self, stack: Shape) -> Self {
        Self { stack, ..self }
    }

    #[must_use]
    pub fn prepared(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.prepare.extend(actions);
        self
    }

    #[must_use]
    pub fn load(self, load: LoadPlan) -> Self {
        Self { load: Some(load), ..self }
    }

    #[must_use]
    pub fn probe(mut self, probe: ProbePlan) -> Self {
        self.probes.push(probe);
        self
    }

    /// Prometheus raises alerts as in a day of this length.
    #[must_use]
    pub fn alerting(self, day: Duration) -> Self {
        Self { alerts: Some(AlertsPlan { day }), ..self }
    }

    /// With a probe of each replica and one of nginx, which read the same record twenty times a second.
    #[must_use]
    pub fn watched(mut self, path: &str) -> Self {
        self.probes.push(ProbePlan::get("nginx", Via::Nginx, path));
        for number in 1..=self.stack.replicas {
            let via = Via::Replica(number);
            self.probes.push(ProbePlan::get(&Target::Api(number).to_string(), via, path));
        }
        self
    }

    #[must_use]
    pub fn at(mut self, at: Duration, action: Action) -> Self {
        self.steps.push(Step { at, name: String::new(), action });
        self
    }

    /// The same with a name, for use in windows.
    #[must_use]
    pub fn named(mut self, name: &str, at: Duration, action: Action) -> Self {
        self.steps.push(Step { at, name: name.to_owned(), action });
        self
    }

    /// Starts as soon as the previous step has ended.
    #[must_use]
    pub fn then(self, action: Action) -> Self {
        let at = self.steps.last().map_or(Duration::ZERO, |step| step.at);
        self.at(at, action)
    }

    #[must_use]
    pub fn window(mut self, name: &str, from: Moment, to: Moment) -> Self {
        self.windows.push(Window { name: name.to_owned(), from, to });
        self
    }

    /// From one mark to another.
    #[must_use]
    pub fn between(self, name: &str, from: &str, to: &str) -> Self {
        self.window(name, Moment::at(from), Moment::at(to))
    }

    #[must_use]
    pub fn gate(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }
}

impl Action {
    #[must_use]
    pub fn fault(target: Target, kind: FaultKind) -> Self {
        Self::Fault(FaultPlan { target, kind })
    }

    #[must_use]
    pub fn heal() -> Self {
        Self::Heal(HealPlan::All)
    }

    #[must_use]
    pub fn heal_one(target: Target) -> Self {
        Self::Heal(HealPlan::Target(target))
    }

    #[must_use]
    pub fn rolling_restart() -> Self {
        Self::Restart(Restart::Rolling)
    }

    /// A GET, repeated until its answer is as expected.
    #[must_use]
    pub fn ask(via: Via, path: &str, expect: Expect) -> Self {
        let within = Duration::from_secs(10);
        Self::Ask(AskPlan { via, method: "GET".to_owned(), path: path.to_owned(), body: None, expect, within })
    }

    #[must_use]
    pub fn mark(name: &str) -> Self {
        Self::Mark(name.to_owned())
    }

    #[must_use]
    pub fn breaker_open(replica: Target, dependency: Target, within: Duration) -> Self {
        Self::Await(AwaitPlan { until: Condition::BreakerOpen { replica, dependency }, within, or_go_on: false })
    }

    #[must_use]
    pub fn answers(probe: &str, count: u64, within: Duration) -> Self {
        let until = Condition::Answers { probe: probe.to_owned(), count };
        Self::Await(AwaitPlan { until, within, or_go_on: false })
    }
}

impl Expect {
    #[must_use]
    pub fn status(status: &[u16]) -> Self {
        Self { status: status.to_vec(), ..Self::default() }
    }

    #[must_use]
    pub fn cache(self, starts: &[&str]) -> Self {
        Self { cache: starts.iter().map(|start| (*start).to_owned()).collect(), ..self }
    }

    #[must_use]
    pub fn code(self, codes: &[&str]) -> Self {
        Self { code: codes.iter().map(|code| (*code).to_owned()).collect(), ..self }
    }
}

impl ProbePlan {
    /// Twenty times a second from the start to the end; 200 is good.
    #[must_use]
    pub fn get(name: &str, via: Via, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            via,
            method: "GET".to_owned(),
            path: path.to_owned(),
            body: None,
            every: Duration::from_millis(50),
            at_once: 1,
            from: String::new(),
            to: String::new(),
            good: Expect::status(&[200]),
        }
    }

    /// Each request follows the previous answer.
    #[must_use]
    pub fn without_pause(self) -> Self {
        Self { every: Duration::ZERO, ..self }
    }

    /// From one mark to another.
    #[must_use]
    pub fn between(self, from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), ..self }
    }

    #[must_use]
    pub fn at_once(self, at_once: u32) -> Self {
        Self { at_once, ..self }
    }

    #[must_use]
    pub fn good(self, good: Expect) -> Self {
        Self { good, ..self }
    }

    /// A PUT of a record.
    #[must_use]
    pub fn put(self) -> Self {
        let body = Some(r#"{"name":"measured","value":"written by a probe"}"#.to_owned());
        Self { method: "PUT".to_owned(), body, ..self }
    }
}

/// Ids that no record has, so each request is a miss.
pub(crate) const UNKNOWN: [u64; 2] = [900_000_001, 1_900_000_000];

impl LoadPlan {
    /// `/data/{id}` of a few records that are soon cached, and `/data/{cold}` of ids that are not: the share of `cold`
    /// is read from Postgres. The kinds are called `hot` and `cold`.
    #[must_use]
    pub fn hot_and_cold(rate: f64, lasts: Duration, cold: f64) -> Self {
        let hot = RequestPlan::get("/data/{id}").named("hot").weight(1.0 - cold).holding("body:\"version\":");
        Self::rate(rate, lasts)
            .of_ids(1, 20)
            .other("cold", UNKNOWN)
            .asking([hot, RequestPlan::get("/data/{cold}").named("cold").weight(cold)])
            .good("2xx,404")
    }

    #[must_use]
    pub fn of_ids(self, first: u64, last: u64) -> Self {
        Self { ids: [first, last], ..self }
    }

    #[must_use]
    pub fn other(mut self, name: &str, ids: [u64; 2]) -> Self {
        self.others.insert(name.to_owned(), IdRange { ids, pick: loadgen::Pick::Uniform });
        self
    }

    #[must_use]
    pub fn asking(self, requests: impl IntoIterator<Item = RequestPlan>) -> Self {
        Self { requests: requests.into_iter().collect(), ..self }
    }

    #[must_use]
    pub fn good(self, statuses: &str) -> Self {
        Self { good: Some(statuses.to_owned()), ..self }
    }
}

impl RequestPlan {
    /// What a good answer must contain besides its status.
    #[must_use]
    pub fn holding(mut self, check: &str) -> Self {
        self.checks.push(check.to_owned());
        self
    }
}
