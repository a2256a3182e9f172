//! The dependencies. Each has its guards, one table that classifies its outcomes, and a prober that knows whether it
//! answers.

pub mod guard;
pub mod knowledge;
#[cfg(test)]
mod outcomes_page;
pub mod postgres;
pub mod pulse;
pub mod redis;

/// The cause of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Fault {
    /// No fault: the dependency answered.
    Nobody,
    /// The dependency, or the network.
    Dependency,
    /// The load: too many requests, or two clients that change the same row.
    Load,
    /// This service: a defect, or its configuration.
    Ours,
}

/// How the breaker counts an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Verdict {
    /// The dependency answers.
    Success,
    /// The dependency does not work.
    Failure,
    /// It reveals nothing about the dependency.
    Ignored,
}

/// How a call ended: the label `outcome` of its duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::EnumCount, strum::VariantArray, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
#[repr(u8)]
pub(crate) enum CallOutcome {
    /// Answered.
    Ok,
    /// Cannot be reached, or the connection ended.
    Away,
    /// Sent, and not answered in time.
    Timeout,
    /// No connection became free in time.
    Busy,
    /// Not sent: the breaker is open.
    BreakerOpen,
    /// Another transaction holds the row.
    Locked,
    /// The dependency refused to write.
    ReadOnly,
    /// One cache entry is not valid.
    Corrupt,
    /// An error caused by this service.
    Error,
}

/// The level at which an outcome is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum LogLevel {
    /// Expected, or already logged by the prober.
    Debug,
    /// Unusual.
    Warn,
    /// A defect.
    Error,
}
