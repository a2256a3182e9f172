//! The output of a run: one line of JSON per event, appended as it happens. Verdict and report are pure functions of
//! it.
//!
//! Each line is appended in one write, so that a crash loses at most the last one. The first line names the schema; a
//! reader refuses other schemas, and ignores an incomplete last line.

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

/// The version changes when old readers can no longer read the journal.
pub const SCHEMA: &str = "lab-journal/1";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum Entry {
    /// The first line.
    Begin(Box<Begin>),
    /// An arm begins. The following lines belong to it, until the next one begins.
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
    /// The state before the first step, as checked by the gate.
    Gate { passed: bool, saw: String },
    /// An action that is about to start; written before it starts.
    Intent {
        step: String,
        what: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// A fault took hold.
    Injected { step: String, fault: Injected },
    /// A fault was undone.
    Healed { step: String, healed: Healed },
    /// Any other action: restarts, scaling, requests.
    Done {
        step: String,
        what: String,
        #[serde(with = "time::serde::rfc3339")]
        asked_at: OffsetDateTime,
        #[serde(with = "time::serde::rfc3339")]
        done_at: OffsetDateTime,
    },
    /// A named point in time.
    Mark {
        name: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Samples of the replicas' `/metrics`: replica, then series, then value; only values that changed since the last
    /// such line of the run. A missing replica did not answer.
    Metrics {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        replicas: BTreeMap<String, BTreeMap<String, f64>>,
    },
    /// A step of the load, for the progress display; the load's own record is in `Load`.
    Point { point: Box<Point> },
    /// Answers of one probe.
    Probe { probe: String, answers: Vec<ProbeAnswer> },
    /// The observed state of each server: `up`, `paused`, `stopped`, `starting`.
    Servers {
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
        states: BTreeMap<String, String>,
    },
    /// The load has ended: its own report, and single requests for a scatter plot.
    Load { report: Box<Report>, requests: Requests },
    /// An alert changed its state in Prometheus.
    Alert {
        name: String,
        state: String,
        #[serde(with = "time::serde::rfc3339")]
        at: OffsetDateTime,
    },
    /// Something worth knowing that has no field.
    Note { text: String },
    /// The reason why the arm cannot be judged.
    Invalid { why: String },
    /// The arm has ended and is undone.
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

/// The description of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    pub schema: String,
    /// The version of the lab.
    pub version: String,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// The command that repeats the run.
    pub command: String,
    pub machine: Machine,
    pub driver: DriverKind,
    /// The build of the API according to its `/metrics`. The lab does not know otherwise whether it is optimised.
    pub build: String,
    pub scale: Scale,
    pub seed: u64,
    pub repeats: u32,
    /// The share of its bound by which a time may exceed it.
    pub allowance: f64,
    pub experiment: Experiment,
}

/// How a run ended.
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
    /// When the request was sent, in ms from the start.
    pub at: f64,
    /// The time until the answer, in ms.
    pub took: f64,
    /// 0: no answer.
    pub status: u16,
    /// The beginning of `Cache-Status`, without the parts that change (`ttl`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub cache: String,
    /// The problem's code; empty for an invalid problem document.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The time that Redis took, in ms, by `Server-Timing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<f64>,
    /// The version of the record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// Set if the record is not the requested one.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub wrong: bool,
    /// Why there was no answer.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// Single requests of the load: all failures, the slowest 1 %, and a sample of the rest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// Planned time in s from the start, latency in ms, and the status (0: no answer).
    pub bad: Vec<(f32, f32, u16)>,
    pub slow: Vec<(f32, f32, u16)>,
    pub sample: Vec<(f32, f32, u16)>,
    /// The sampling interval: one of this many of the other requests is included.
    pub one_of: u32,
    /// Number of failures that are not included; the report counts them.
    #[serde(default)]
    pub bad_left_out: u64,
}
