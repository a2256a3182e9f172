//! An experiment as data: the question, the stacks, the load, the faults and their times, and the hypotheses.
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
    /// The cases to compare, in the order in which they run.
    #[serde(rename = "arm")]
    pub arms: Vec<Arm>,
    /// Written before the run; judged after it.
    #[serde(rename = "hypothesis")]
    pub hypotheses: Vec<Hypothesis>,
}

/// The texts of the experiment, for its page and its report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// `<target>-<fault>` or the name of the lesson; also used as a file name.
    pub name: String,
    pub question: String,
    /// The number of the source lesson (`004`), empty for none.
    #[serde(default)]
    pub seed: String,
    /// The lesson that lists it (`your-first-system`), empty for none.
    #[serde(default)]
    pub lesson: String,
    /// What the source of the lesson says.
    #[serde(default)]
    pub says: String,
    /// What to expect and why.
    #[serde(default)]
    pub expect: String,
    /// How to improve a system with a worse result.
    #[serde(default)]
    pub change: String,
    /// Figures of the source, shown next to the measured ones.
    #[serde(default, rename = "figure", skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<Figure>,
}

/// A figure that the source of a lesson states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    pub what: String,
    /// As written in the source: `1337 RPS`.
    pub theirs: String,
    /// The arm and measure to compare with it.
    pub arm: String,
    pub measure: crate::hypothesis::Measure,
    #[serde(default = "whole")]
    pub window: String,
}

/// One case: a stack of some shape under some load, and the actions on it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arm {
    /// `with`, `without`, or another name that distinguishes it from the others.
    pub name: String,
    #[serde(default)]
    pub stack: Shape,
    /// Actions before the load begins, whose times are not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prepare: Vec<Action>,
    /// `None`: only the probes send requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadPlan>,
    #[serde(default, rename = "probe", skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbePlan>,
    #[serde(default, rename = "step", skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
    /// In addition to [`WHOLE`], and `before`, `during` and `after` of a fault, which every arm has.
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

/// The differences between the stack of an arm and the default: three replicas, every mechanism on, no quota.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shape {
    pub replicas: u32,
    /// A phase of the app in the notes: 1 raw, 2 scaled, 3 cached, 4 protected.
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
    /// With another number of replicas.
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

/// The required state before the first step. Otherwise the run is invalid and nothing is broken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gate {
    /// All servers are up, every breaker is closed, `/health` passes, and the load has got good answers so far.
    #[default]
    Steady,
    /// All servers are up. The arm itself examines the answers that clients get.
    Up,
}

impl Gate {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// An action at a time of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The time from the start of the load; a step never begins before the previous one has ended.
    #[serde(with = "text::duration")]
    pub at: Duration,
    /// Its marks are `NAME.asked` and `NAME.done`. The default is the name of its action.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(rename = "do")]
    pub action: Action,
}

/// The actions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Injects a fault and confirms the effect from outside.
    Fault(FaultPlan),
    /// Undoes the faults of one server, or of all with `all`.
    Heal(HealPlan),
    /// Restarts the replicas.
    Restart(Restart),
    /// Changes the number of replicas.
    Scale(u32),
    /// Waits for a condition, with a limit. If the limit passes, the arm is invalid.
    Await(AwaitPlan),
    /// Sends one request until its answer is as expected.
    Ask(AskPlan),
    /// Waits for a fixed time.
    Wait(#[serde(with = "text::duration")] Duration),
    /// Sets a named mark.
    Mark(String),
}

/// A fault and its target.
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

/// The condition to wait for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwaitPlan {
    pub until: Condition,
    #[serde(with = "text::duration")]
    pub within: Duration,
    /// Whether the arm is valid even if the condition is never met; the hypotheses then judge the rest.
    #[serde(default)]
    pub or_go_on: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Condition {
    /// A replica's breaker of a dependency is open.
    BreakerOpen { replica: Target, dependency: Target },
    /// A probe has this many answers since the step began.
    Answers { probe: String, count: u64 },
    /// A series of a replica's metrics has at least this value.
    Metric { replica: Target, series: String, at_least: f64 },
    /// A server has ended: it was killed at its limit, or it crashed.
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

/// The expected answer. Every part that is given has to match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Any of these; empty: any status.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub status: Vec<u16>,
    /// `Cache-Status` begins with one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cache: Vec<String>,
    /// The problem's code is one of these. The body is a problem document, with `Retry-After` if the status is 503.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub code: Vec<String>,
}

/// Sends one request repeatedly and records every answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbePlan {
    pub name: String,
    #[serde(default)]
    pub via: Via,
    #[serde(default = "get", skip_serializing_if = "is_get")]
    pub method: String,
    /// `{new}` is an id that no record has and that was never requested.
    pub path: String,
    /// A JSON document, for a write.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The interval between requests; zero: each request follows the previous answer.
    #[serde(with = "text::duration", default = "twenty_a_second")]
    pub every: Duration,
    /// The number of parallel requests.
    #[serde(default = "one")]
    pub at_once: u32,
    /// The mark at which it starts; empty: the start.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// The mark at which it ends; empty: the end.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// The definition of a good answer, for detection and recovery.
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

/// The length of a run: the same questions, in less time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    Quick,
    #[default]
    Full,
}

impl Scale {
    /// Selects one of two values.
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
