//! The result of a run, in the form in which it is stored, and everything that is derived from it later.
//!
//! The recorded [`Report`] is the JSON of `load run --json` (schema: `load-tests/schema/report.schema.json`). The
//! summary, the page and comparisons are functions of it alone.
//!
//! - [`build`]: from the axis to the report; [`window`]: a part of it; [`repeats`]: several runs of one plan
//! - [`verdict`]: whether the run is valid, and whether it passed; [`condition`]: `--fail-if`
//! - [`text`]: the summary; [`html`]: the page

pub(crate) mod build;
pub(crate) mod condition;
pub(crate) mod html;
pub(crate) mod prometheus;
pub(crate) mod repeats;
pub(crate) mod text;
pub(crate) mod verdict;
pub(crate) mod window;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::curve::Stage;
use crate::error::LoadError;
use crate::files;
use crate::machine::Machine;
use crate::outcome::ErrorClass;
use crate::pacer::Arrivals;
use crate::plan::{Retries, Statuses};
use crate::tally::Tally;

/// The version of the format; it changes when old readers can no longer read it.
pub const SCHEMA: &str = "load-report/2";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub version: String,
    /// The command that repeats the run.
    pub command: String,
    /// The machine that ran the generator.
    pub machine: Machine,
    /// Milliseconds since 1970, at the end of the warm-up.
    pub started_unix_ms: u64,
    pub plan: PlanRecord,
    pub ending: Ending,
    pub verdict: Verdict,
    pub summary: Summary,
    pub latency: LatencyTable,
    /// By kind of request, in the plan's order.
    pub kinds: Vec<KindRecord>,
    pub statuses: Vec<StatusCount>,
    pub errors: Vec<ErrorCount>,
    /// Answers by `X-Instance`.
    pub instances: BTreeMap<String, u64>,
    /// Answers by `Cache-Status`.
    pub cache: BTreeMap<String, u64>,
    pub connections: ConnectionCounts,
    pub bytes: ByteCounts,
    pub generator: Generator,
    /// The length of one step of the series and of the axis.
    pub interval_s: f64,
    pub series: Vec<Point>,
    pub histogram: Histograms,
    /// The source of everything else here; see [`Report::window`].
    pub(crate) axis: Vec<AxisStep>,
    /// With `--repeat`, each run in order; the rest of this report shows the run with the median rate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<RepeatRecord>,
}

/// How the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As planned.
    Complete,
    /// Early, on request; outstanding answers were waited for.
    FinishedEarly,
    /// Early, because a condition was broken (`--abort`).
    Aborted,
    /// Early, by a signal; requests without an answer count as in flight.
    Cancelled,
}

/// One run of several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RepeatRecord {
    pub outcome: Outcome,
    pub summary: Summary,
    pub invalid: Vec<String>,
    pub conditions: Vec<ConditionResult>,
}

/// A step of planned time, and the results of the requests planned in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AxisStep {
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    pub(crate) in_flight: u64,
    pub(crate) requests: Tally,
}

/// The plan that was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub mode: Mode,
    pub target: String,
    /// Method and path of each kind, secrets masked.
    pub requests: Vec<String>,
    /// A hash of everything that is sent: headers, bodies, weights, ids.
    pub requests_hash: String,
    pub connections: usize,
    pub threads: usize,
    pub planned_requests: Option<u64>,
    pub duration_s: Option<f64>,
    pub warmup_s: f64,
    pub timeout_ms: f64,
    pub keep_alive: bool,
    pub seed: u64,
    /// Open loop only.
    pub arrivals: Option<Arrivals>,
    /// The planned rate over time; empty in a closed loop.
    pub curve: Vec<Stage>,
    pub retries: Retries,
    pub success: Statuses,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Closed,
    Open,
}

/// The main numbers. Latencies count from the planned send time and are those of successful answers, because a refusal
/// within a millisecond is not a fast answer. They are null if nothing succeeded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Answers of any status, per second.
    pub requests_per_second: f64,
    /// Successful answers, per second.
    pub goodput_per_second: f64,
    /// The share of successes among all planned requests, except those still in flight. A dropped request is not a
    /// success.
    pub success_ratio: f64,
    pub mean_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    #[serde(rename = "p99.9_ms")]
    pub p99_9_ms: Option<f64>,
    pub max_ms: Option<f64>,
    pub elapsed_s: f64,
    /// `planned = sent + dropped`.
    pub planned: u64,
    /// `sent = answered + unanswered + in_flight_at_end`.
    pub sent: u64,
    /// Due, but not sent, because every connection was busy.
    pub dropped: u64,
    /// Sent more than 1 ms late.
    pub late: u64,
    /// Those that were also late by more than 1 % of their latency: the generator's own delay affects their latency.
    pub distorted: u64,
    /// `answered = succeeded + refused`.
    pub answered: u64,
    pub succeeded: u64,
    /// Answers whose status is not a success.
    pub refused: u64,
    /// Requests without an answer, for any reason.
    pub unanswered: u64,
    pub in_flight_at_end: u64,
    /// `errors = refused + unanswered`.
    pub errors: u64,
    /// Attempts beyond the first; the server received `sent + retries` requests.
    pub retries: u64,
    /// Open loop: the planned rate, per second of the schedule.
    pub target_rate: Option<f64>,
    /// Open loop: the rate of sent requests, up to the last send.
    pub sent_rate: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyTable {
    pub all: Option<LatencyStats>,
    /// Of successful answers.
    pub good: Option<LatencyStats>,
    /// Of refused and unanswered requests.
    pub bad: Option<LatencyStats>,
    /// Of all requests, from the actual send time; open loop only.
    pub service: Option<LatencyStats>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyStats {
    pub count: u64,
    pub mean_ms: f64,
    pub min_ms: f64,
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    #[serde(rename = "p99.9_ms")]
    pub p99_9_ms: f64,
    pub max_ms: f64,
    /// The percentiles that depend on fewer than ten requests: `p99` needs 1,000 samples.
    pub too_few_for: Vec<String>,
}

/// One kind of request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KindRecord {
    pub name: String,
    pub sent: u64,
    pub succeeded: u64,
    pub good: Option<LatencyStats>,
    pub bad: Option<LatencyStats>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    pub status: u16,
    /// The problem document's `code`, if there was one.
    pub code: Option<String>,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    pub class: ErrorClass,
    pub count: u64,
    /// The cause of the first error of the class.
    pub example: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    pub opened: u64,
    /// Closed by the server while no request was running on them.
    pub closed_idle: u64,
    /// Requests sent again, once, because the server closed their idle connection as they were sent (RFC 9112, 9.3.1).
    #[serde(default)]
    pub resent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    pub sent: u64,
    pub received: u64,
}

/// The generator's own resource use and errors, from the end of the warm-up to the end of sending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    pub threads: Vec<ThreadRecord>,
    /// The delay between planned and actual send time: its 99th percentile and its maximum; open loop only.
    pub lag_p99_ms: Option<f64>,
    pub lag_max_ms: Option<f64>,
    pub stalls: Stalls,
    pub measured_s: f64,
    pub saturated: bool,
    pub warmup_requests: u64,
}

/// One sending thread.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ThreadRecord {
    /// Its CPU time, as a share of one core.
    pub cpu_share: f64,
    /// How long it was ready but had no core, as a share of the time; null if the kernel does not report it.
    pub waiting_share: Option<f64>,
}

impl ThreadRecord {
    /// The share of the time in which it was running or ready to run.
    #[must_use]
    pub fn busy_share(&self) -> f64 {
        self.cpu_share + self.waiting_share.unwrap_or(0.0)
    }
}

impl Generator {
    /// The busiest thread.
    #[must_use]
    pub fn busiest(&self) -> Option<&ThreadRecord> {
        self.threads.iter().max_by(|a, b| a.busy_share().total_cmp(&b.busy_share()))
    }
}

/// Times in which the generator itself did not run: it was stopped, or had no core for long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stalls {
    pub count: u64,
    pub total_s: f64,
    pub longest_s: f64,
    /// When the longest stall began, from the end of the warm-up.
    pub longest_at_s: f64,
}

/// One step of the time series: the results of the requests that were planned in it, whenever they ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub at_s: f64,
    /// The length of the step; the last one may be longer or shorter than the others.
    pub seconds: f64,
    pub sent: u64,
    pub dropped: u64,
    pub late: u64,
    pub succeeded: u64,
    /// In flight at the end of the step, whenever they were planned.
    pub in_flight: u64,
    pub retries: u64,
    /// Latencies of successful answers.
    pub mean_ms: Option<f64>,
    pub p50_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub max_ms: Option<f64>,
    pub statuses: BTreeMap<String, u64>,
    pub errors: BTreeMap<String, u64>,
    pub instances: BTreeMap<String, u64>,
    pub cache: BTreeMap<String, u64>,
}

/// Every non-empty bucket: latency in microseconds and its count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histograms {
    pub unit: String,
    pub good: Vec<(u64, u64)>,
    pub bad: Vec<(u64, u64)>,
    pub service: Option<Vec<(u64, u64)>>,
}

/// The verdict of the run in one word, and the reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    pub outcome: Outcome,
    /// Why it is invalid; empty otherwise.
    pub invalid: Vec<String>,
    /// What a reader should know before trusting the numbers.
    pub notes: Vec<String>,
    pub conditions: Vec<ConditionResult>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// No condition failed, or there was none.
    Held,
    /// A `--fail-if` condition was met, or nothing succeeded.
    Deviated,
    /// The numbers say nothing about the server.
    Invalid,
    /// The run was ended early.
    Interrupted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionResult {
    /// The condition under which the run fails.
    pub fail_if: String,
    pub measured: String,
    pub failed: bool,
    /// With `--repeat`, the run with the worst value, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<usize>,
}

impl Report {
    /// Reads a recorded report.
    ///
    /// # Errors
    /// The file cannot be read, is not a report (with the line of the error), or has another schema version.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let text = files::read(path, files::MAX_RESULT)?;
        let fail = |line, reason| LoadError::File { path: path.to_owned(), line, reason };
        #[derive(Deserialize)]
        struct Header {
            schema: String,
        }
        let header: Header = serde_json::from_str(&text).map_err(|error| {
            let what = if error.is_eof() {
                "ends in the middle: it was cut short"
            } else {
                "is not a report of load run --json"
            };
            fail(error.line(), format!("this {what}: {error}"))
        })?;
        if header.schema != SCHEMA {
            return Err(fail(1, format!("its schema is {:?}; this program reads {SCHEMA:?}", header.schema)));
        }
        serde_json::from_str(&text).map_err(|error| fail(error.line(), error.to_string()))
    }

    /// The stored form.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[expect(clippy::expect_used, reason = "plain structs with string keys always serialise")]
        let mut text = serde_json::to_string(self).expect("a report is plain data");
        text.push('\n');
        text
    }

    /// The summary, as plain text.
    #[must_use]
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// The numbers as Prometheus text.
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        prometheus::render(self)
    }

    /// The page, as one file that needs no network.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::render(self)
    }
}
