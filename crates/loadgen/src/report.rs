//! What a run brought in: the form it is kept in, and everything that is said about it later.
//!
//! The recorded [`Report`] is the JSON of `load run --json` (schema: `load-tests/schema/report.schema.json`). The summary,
//! the page and comparisons are made from it alone.
//!
//! - [`build`]: from the books to the report; [`verdict`]: whether the run is valid and what it says
//! - [`condition`]: `--fail-if`; [`text`]: the summary; [`html`]: the page

pub(crate) mod build;
pub(crate) mod condition;
pub(crate) mod html;
pub(crate) mod text;
pub(crate) mod verdict;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::curve::Stage;
use crate::error::LoadError;
use crate::outcome::ErrorClass;
use crate::pacer::Arrivals;
use crate::plan::{Retries, Statuses};

/// The version of the recorded form; a change that old readers cannot read gets another one.
pub const SCHEMA: &str = "load-report/1";

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    pub schema: String,
    pub version: String,
    /// What repeats the run.
    pub command: String,
    /// Milliseconds since 1970, at the end of the warm-up.
    pub started_unix_ms: u64,
    pub plan: PlanRecord,
    pub verdict: Verdict,
    pub summary: Summary,
    pub latency: LatencyTable,
    pub statuses: Vec<StatusCount>,
    pub errors: Vec<ErrorCount>,
    /// Answers by `X-Instance`.
    pub instances: BTreeMap<String, u64>,
    /// Answers by what `Cache-Status` says.
    pub cache: BTreeMap<String, u64>,
    pub connections: ConnectionCounts,
    pub bytes: ByteCounts,
    pub generator: Generator,
    pub interval_s: f64,
    pub series: Vec<Point>,
    pub histogram: Histograms,
    /// With `--repeat`, the summary of each run in order; this report shows the one with the median rate in full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeats: Vec<Summary>,
}

/// The plan as it was carried out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub mode: Mode,
    pub target: String,
    pub requests: Vec<String>,
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

/// The numbers that are read first. Latencies count from the planned send time and include requests that failed or timed
/// out; they are null when nothing ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Answers of any status, per second.
    pub requests_per_second: f64,
    /// Successful answers, per second.
    pub goodput_per_second: f64,
    /// Successes among all planned requests that are not still in flight; a dropped one is no success.
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
    /// Due, but not sent: every connection was busy.
    pub dropped: u64,
    /// Sent more than 1 ms after their time.
    pub late: u64,
    /// `answered = succeeded + refused`.
    pub answered: u64,
    pub succeeded: u64,
    /// Answers whose status is no success.
    pub refused: u64,
    /// Requests without an answer, for whatever reason.
    pub unanswered: u64,
    pub in_flight_at_end: u64,
    /// `errors = refused + unanswered`.
    pub errors: u64,
    /// Attempts beyond the first; the server got `sent + retries` requests.
    pub retries: u64,
    /// Open loop: what the plan asked for and what was sent, per second.
    pub target_rate: Option<f64>,
    pub sent_rate: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyTable {
    pub all: Option<LatencyStats>,
    pub succeeded: Option<LatencyStats>,
    /// Refused and unanswered ones.
    pub failed: Option<LatencyStats>,
    /// From the actual send time; open loop only.
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
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCount {
    pub status: u16,
    /// The problem document's `code`, where there was one.
    pub code: Option<String>,
    pub count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorCount {
    pub class: ErrorClass,
    pub count: u64,
    /// What the first one of the class was.
    pub example: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionCounts {
    pub opened: u64,
    /// Closed by the server while no request was on them.
    pub closed_idle: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    pub sent: u64,
    pub received: u64,
}

/// What the generator itself used, from the end of the warm-up to the end of sending.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// The busiest thread's CPU time, as a share of one core.
    pub cpu_share: f64,
    /// How long that thread was ready but had no core, as a share of the time; null where the kernel does not tell.
    pub waiting_share: Option<f64>,
    /// How much later than planned 99 % of the requests were sent at most; open loop only.
    pub lag_p99_ms: Option<f64>,
    pub measured_s: f64,
    pub saturated: bool,
    pub warmup_requests: u64,
}

/// One step of the time series. Requests are counted in the step in which they were sent; answers, errors and latencies
/// in the step in which they ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub at_s: f64,
    /// How long the step lasted; the last one may be longer or shorter than the others.
    pub seconds: f64,
    pub sent: u64,
    pub dropped: u64,
    pub late: u64,
    pub succeeded: u64,
    pub in_flight: u64,
    pub retries: u64,
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

/// Every recorded bucket: latency in microseconds and how many requests had it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histograms {
    pub unit: String,
    pub latency: Vec<(u64, u64)>,
    pub service: Option<Vec<(u64, u64)>>,
}

/// What the run says in one word, and why.
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
    /// A `--fail-if` condition was met.
    Deviated,
    /// The numbers do not say anything about the server.
    Invalid,
    /// Ended before its plan was.
    Interrupted,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionResult {
    /// The condition that would be a failure.
    pub fail_if: String,
    pub measured: String,
    pub failed: bool,
}

impl Report {
    /// Reads a recorded report.
    ///
    /// # Errors
    /// The file cannot be read, is no report (with the line at fault), or one of another schema.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let text =
            fs::read_to_string(path).map_err(|source| LoadError::Io { verb: "read", path: path.to_owned(), source })?;
        let fail = |line, reason| LoadError::File { path: path.to_owned(), line, reason };
        #[derive(Deserialize)]
        struct Header {
            schema: String,
        }
        let header: Header = serde_json::from_str(&text)
            .map_err(|error| fail(error.line(), format!("this is not a report of load run --json: {error}")))?;
        if header.schema != SCHEMA {
            return Err(fail(1, format!("its schema is {:?}; this program reads {SCHEMA:?}", header.schema)));
        }
        serde_json::from_str(&text).map_err(|error| fail(error.line(), error.to_string()))
    }

    /// The form it is kept in.
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

    /// The page, as one file that needs no network.
    #[must_use]
    pub fn to_html(&self) -> String {
        html::render(self)
    }
}
