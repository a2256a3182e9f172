//! A load generator, as the program `load` and as a library. Its first aim is an honest result.
//!
//! ```no_run
//! # async fn run() -> Result<(), loadgen::LoadError> {
//! use std::time::Duration;
//!
//! use loadgen::{Load, Plan};
//!
//! let load = Load::Closed { requests: Some(100), duration: None };
//! let plan = Plan::get("http://127.0.0.1:8080/data/1", load)?;
//! let addresses = plan.target.reach(Duration::from_secs(1))?;
//! let report = loadgen::start(plan, addresses)?.report().await?;
//! println!("{}", report.to_text());
//! # Ok(())
//! # }
//! ```
//!
//! [`start`] runs a [`Plan`] and returns a [`Report`]; [`Workload::read`] makes a plan from a workload file. [`engine`]
//! implements the run with event loops that own their sockets, because the tasks and timers of an async runtime cost as
//! much as the requests themselves and have a resolution of a millisecond.

pub mod ab;
mod address;
mod axis;
pub mod charts;
mod check;
pub mod cli;
pub mod compare;
mod curve;
pub mod duration;
mod engine;
mod error;
mod files;
mod histogram;
mod http;
mod ids;
mod latencies;
mod limits;
mod machine;
mod options;
mod outcome;
mod pacer;
mod plan;
mod record;
mod report;
mod secrets;
mod shell;
mod signals;
pub mod stats;
mod tally;
mod target;
mod template;
mod workload;

pub use address::{Address, Addresses};
pub use check::Check;
pub use curve::{Curve, Stage};
pub use engine::{RawSink, Running, Stopper, start, start_keeping};
pub use error::LoadError;
pub use ids::{Ids, Pick};
pub use machine::Machine;
pub use outcome::{CacheResult, ErrorClass};
pub use pacer::Arrivals;
pub use plan::{Load, Plan, Retries, Statuses};
pub use record::RawRecord;
pub use report::condition::Condition;
pub use report::window::Window;
pub use report::{
    ByteCounts, ConditionResult, ConnectionCounts, Ending, ErrorCount, Generator, Histograms, KindRecord, LatencyStats,
    LatencyTable, Mode, Outcome, PlanRecord, Point, RepeatRecord, Report, SCHEMA, Stalls, StatusCount, Summary,
    ThreadRecord, Verdict,
};
pub use shell::quote;
pub use signals::Signals;
pub use target::Target;
pub use template::RequestSpec;
pub use workload::Workload;
