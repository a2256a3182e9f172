//! What a run leaves: one line of JSON per event, appended as it happens. Verdict and report are pure functions of it.
//!
//! A line is written in one piece, so that a crash loses at most the last one. The first line names the schema; a reader
//! refuses a journal of another one, and reads past a last line that was cut.

mod file;
mod timeline;

use std::collections::BTreeMap;

use loadgen::{Machine, Point, Report};
use serde::{Deserialize, Serialize};
use stack::{DriverKind, Healed, Injected};
use time::OffsetDateTime;

pub use self::{
    file::{Journal, JournalError, Writer},
    timeline::{ArmRun, Marks, Run},
};
use crate::experiment::{Experiment, Scale};

/// A change that old readers cannot read gets another number.
pub const SCHEMA: &str = "lab-journal/1";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Begin(Box<Begin>),
    /// A case begins. What follows belongs to it, until the next one begins.
    Arm {
        arm: String,
        /// Which repetition, counted from 1.
        repeat: u32,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The load and the probes started: times of points, probes and load count from here.
    Start {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The state before the first step, as the gate saw it.
    Gate { passed: bool, saw: String },
    /// What is about to be done; written before it is.
    Intent {
        step: String,
        what: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// A fault took hold.
    Injected { step: String, fault: Injected },
    /// Something was undone.
    Healed { step: String, healed: Healed },
    /// Anything else that was done: restarts, scaling, requests.
    Done {
        step: String,
        what: String,
        #[serde(with = "time::serde::rfc3339")]
        asked_at: OffsetDateTime,
        #[serde(with = "time::serde::rfc3339")]
        done_at: OffsetDateTime,
    },
    /// A point in time with a name.
    Mark {
        name: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Series of the replicas' `/metrics` at a moment: replica, then series, then value; only those that changed since the
    /// last such line of the run. A replica that is missing did not answer.
    Metrics {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        replicas: BTreeMap<String, BTreeMap<String, f64>>,
    },
    /// A step of the load as it went by, for those who watch; the load's own record is in `Load`.
    Point { point: Box<Point> },
    /// Answers of one probe.
    Probe { probe: String, answers: Vec<ProbeAnswer> },
    /// How each server was found: `up`, `paused`, `stopped`, `starting`.
    Servers {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        states: BTreeMap<String, String>,
    },
    /// The load is over: its own report, and single requests for a scatter plot.
    Load { report: Box<Report>, requests: Requests },
    /// An alert changed its state, as Prometheus has it.
    Alert {
        name: String,
        state: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Something worth knowing that has no field.
    Note { text: String },
    /// The arm cannot be judged; why.
    Invalid { why: String },
    /// The case is over and undone.
    ArmEnd {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// The last line.
    End {
        ending: Ending,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
}

/// What a run was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    pub schema: String,
    /// Of the lab.
    pub version: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What repeats the run.
    pub command: String,
    pub machine: Machine,
    pub driver: DriverKind,
    /// Whether the API was built with optimisation is not known to the lab; this is what its `/metrics` say of its build.
    pub build: String,
    pub scale: Scale,
    pub seed: u64,
    pub repeats: u32,
    /// How much more than its bound a time may be, as a part of it.
    pub allowance: f64,
    pub experiment: Experiment,
}

/// How a run came to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    Complete,
    Interrupted,
    Failed(String),
}

/// One answer of a probe, or none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProbeAnswer {
    /// When it was asked, in ms from the start.
    pub at: f64,
    /// How long it took, in ms.
    pub took: f64,
    /// 0: no answer.
    pub status: u16,
    /// The beginning of `Cache-Status` without what changes (`ttl`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cache: String,
    /// The problem's code; empty for what is not a proper problem document.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// What Redis cost, in ms, by `Server-Timing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<f64>,
    /// Of the record in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Set when the record in it is not the one that was asked for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wrong: bool,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Single requests of the load: everything that failed and the slowest 1 %, and a sample of the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Planned time in s from the start, latency in ms, and the status (0: no answer).
    pub bad: Vec<(f32, f32, u16)>,
    pub slow: Vec<(f32, f32, u16)>,
    pub sample: Vec<(f32, f32, u16)>,
    /// One of so many of the rest is in the sample.
    pub one_of: u32,
    /// Failures beyond what is kept; they are counted in the report.
    #[serde(default)]
    pub bad_left_out: u64,
}
