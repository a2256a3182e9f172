//! An experiment as data: what is asked, on which stacks, under which load, what is broken when, and what has to hold.
//!
//! The same fields are written in Rust (the files of [`experiments`](crate::experiments)) and in TOML (a user's own file);
//! both are checked by [`Experiment::check`]. Only [`run`](crate::run) acts on them.

mod build;
mod check;
mod file;
mod load;
mod moment;
pub(crate) mod text;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stack::{FaultKind, Restart, Target, Topology};

pub(crate) use self::build::UNKNOWN;
pub use self::{
    check::Unfit,
    file::{EXAMPLE, FileError},
    load::{IdRange, LoadPlan, Pace, RequestPlan, Via},
    moment::Moment,
};
use crate::hypothesis::Hypothesis;

/// One question, answered on the running stack.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    pub about: About,
    /// The cases that are compared, in the order in which they run.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    /// Written before the run; judged after it.
    #[serde(rename = "hypothesis")]
    pub hypotheses: Vec<Hypothesis>,
}

/// The words around it: its page and its report are made from these.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// `<target>-<fault>` or the name of the lesson; also a file name.
    pub name: String,
    pub question: String,
    /// Which seed it comes from (`004`), empty for none.
    #[serde(default)]
    pub seed: String,
    /// Which lesson lists it (`your-first-system`), empty for none.
    #[serde(default)]
    pub lesson: String,
    /// What the source of the lesson says.
    #[serde(default)]
    pub says: String,
    /// What to expect and why.
    #[serde(default)]
    pub expect: String,
    /// What to change in a system that does worse.
    #[serde(default)]
    pub change: String,
    /// Figures of the source, shown beside what is measured.
    #[serde(default, rename = "figure", skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
}

/// A figure that the source of a lesson states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub what: String,
    /// As the source has it: `1337 RPS`.
    pub theirs: String,
    /// Which arm and measure stand beside it.
    pub arm: String,
    pub measure: crate::hypothesis::Measure,
    #[serde(default = "whole")]
    pub window: String,
}

/// One case: a stack of some shape under some load, with what is done to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// `with`, `without`, or what tells it from the others.
    pub name: String,
    #[serde(default)]
    pub stack: Shape,
    /// Done before the load begins, without a record of when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<Action>,
    /// None: only the probes ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadPlan>,
    #[serde(default, rename = "probe", skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbePlan>,
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// Besides [`WHOLE`], and `before`, `during` and `after` of a fault, which every arm has.
    #[serde(default, rename = "window", skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Prometheus watches it with the project's alert rules; where it is not installed the report says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alerts: Option<AlertsPlan>,
    /// What has to be so before anything is broken; an arm that is overloaded from its start on has no steady state.
    #[serde(default, skip_serializing_if = "Gate::is_default")]
    pub gate: Gate,
}

/// How alerts are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertsPlan {
    /// How long a day lasts: the times of the rules are those of such a day.
    #[serde(with = "text::duration")]
    pub day: Duration,
}

/// The window from the start of the load to its end.
pub const WHOLE: &str = "whole";
pub const BEFORE: &str = "before";
pub const DURING: &str = "during";
pub const AFTER: &str = "after";

fn whole() -> String {
    WHOLE.to_owned()
}

/// How the stack of an arm differs from the default: three replicas, every mechanism on, no quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    pub replicas: u32,
    /// As the notes saw the app: 1 raw, 2 scaled, 3 cached, 4 protected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<u8>,
    /// The switches and settings of the replicas.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub env: std::collections::BTreeMap<String, String>,
    /// CPU quota of each replica, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<f64>,
}

impl Default for Shape {
    fn default() -> Self {
        Self { replicas: 3, phase: None, env: std::collections::BTreeMap::new(), cpus: None }
    }
}

impl Shape {
    /// Another number of replicas.
    #[must_use]
    pub fn of(replicas: u32) -> Self {
        Self { replicas, ..Self::default() }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    #[must_use]
    pub fn phase(mut self, phase: u8) -> Self {
        self.phase = Some(phase);
        self
    }

    #[must_use]
    pub fn cpus(mut self, cpus: f64) -> Self {
        self.cpus = Some(cpus);
        self
    }

    pub(crate) fn topology(&self) -> Topology {
        Topology {
            replicas: self.replicas,
            phase: self.phase,
            env: self.env.iter().map(|(name, value)| (name.clone(), value.clone())).collect(),
            cpus: self.cpus,
        }
    }
}

/// The state that has to be seen before the first step; otherwise the run is invalid and nothing is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// All servers are up, every breaker is closed, `/health` passes, and what the load got so far is good.
    #[default]
    Steady,
    /// All servers are up: what clients get is what the arm is about.
    Up,
}

impl Gate {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Something that is done at a moment of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// From the start of the load; a step never begins before the one in front of it has ended.
    #[serde(with = "text::duration")]
    pub at: Duration,
    /// Its marks are `NAME.asked` and `NAME.done`. Without a name it is called after its action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "do")]
    pub action: Action,
}

/// What a step can do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Breaks something and confirms the effect from outside.
    Fault(FaultPlan),
    /// Undoes the faults of one server; of all with `all`.
    Heal(HealPlan),
    /// Restarts the replicas.
    Restart(Restart),
    /// Changes the number of replicas.
    Scale(u32),
    /// Waits for something to happen, with a limit; a limit that passes makes the arm invalid.
    Await(AwaitPlan),
    /// One request, whose answer has to be as expected; asked again until it is.
    Ask(AskPlan),
    /// Time passes.
    Wait(#[serde(with = "text::duration")] Duration),
    /// A point in time with a name.
    Mark(String),
}

/// A fault and what it hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultPlan {
    pub target: Target,
    #[serde(flatten)]
    pub kind: FaultKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealPlan {
    All,
    Target(Target),
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitPlan {
    pub until: Condition,
    #[serde(with = "text::duration")]
    pub within: Duration,
    /// The arm is valid also when it never comes: the hypotheses judge what followed.
    #[serde(default)]
    pub or_go_on: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Condition {
    /// A replica's breaker of a dependency is open.
    BreakerOpen { replica: Target, dependency: Target },
    /// A probe has so many answers since the step began.
    Answers { probe: String, count: u64 },
    /// A series of a replica's metrics has at least this value.
    Metric { replica: Target, series: String, at_least: f64 },
    /// A server does not run any more: it was killed at its limit, or it crashed.
    Ended { target: Target },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AskPlan {
    #[serde(default)]
    pub via: Via,
    #[serde(default = "get")]
    pub method: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    pub expect: Expect,
    #[serde(with = "text::duration", default = "ten_seconds")]
    pub within: Duration,
}

fn get() -> String {
    "GET".to_owned()
}

fn is_get(method: &str) -> bool {
    method == "GET"
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// What an answer has to look like. Every part that is given has to fit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Any of these; empty: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// `Cache-Status` begins with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<String>,
    /// The problem's code is one of these, and it is a problem document with `Retry-After` where the status is 503.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
}

/// Asks one thing again and again and keeps every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbePlan {
    pub name: String,
    #[serde(default)]
    pub via: Via,
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    /// `{new}` is an id that no record has and nothing has asked for.
    pub path: String,
    /// A JSON document, for what writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// From one request to the next; zero: the next follows the answer.
    #[serde(with = "text::duration", default = "twenty_a_second")]
    pub every: Duration,
    /// So many at the same time.
    #[serde(default = "one")]
    pub at_once: u32,
    /// The mark from which it asks; empty: the start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The mark at which it ends; empty: the end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// What a good answer is, for detection and recovery.
    #[serde(default = "is_ok")]
    pub good: Expect,
}

fn twenty_a_second() -> Duration {
    Duration::from_millis(50)
}

fn one() -> u32 {
    1
}

fn is_ok() -> Expect {
    Expect { status: vec![200], ..Expect::default() }
}

/// A part of an arm's time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    pub name: String,
    pub from: Moment,
    pub to: Moment,
}

/// How long a run is: the same questions, shorter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    Quick,
    #[default]
    Full,
}

impl Scale {
    /// One of two values.
    #[must_use]
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }

    /// A time in seconds.
    #[must_use]
    pub fn seconds(self, quick: u64, full: u64) -> Duration {
        Duration::from_secs(self.pick(quick, full))
    }
}
