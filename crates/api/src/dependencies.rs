//! The dependencies, each behind its guards: what it said is judged by one table each, and a prober knows whether it
//! answers.

pub mod guard;
pub mod knowledge;
#[cfg(test)]
mod outcomes_page;
pub mod postgres;
pub mod redis;

/// Whose fault an outcome is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Fault {
    /// Nobody's: an answer.
    Nobody,
    /// The dependency's, or the network's between.
    Dependency,
    /// The load's: too much of it, or two clients in each other's way.
    Load,
    /// This service's: a defect, or its set-up.
    Ours,
}

/// What an outcome tells the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Verdict {
    /// The dependency answers.
    Success,
    /// The dependency does not do its part.
    Failure,
    /// It says nothing about the dependency.
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
    /// No connection came free in time.
    Busy,
    /// Not sent: the breaker is open.
    BreakerOpen,
    /// Another transaction holds the row.
    Locked,
    /// Refused to write.
    ReadOnly,
    /// One cache entry is not what it should be.
    Corrupt,
    /// An error of this service's own making.
    Error,
}

/// How a fault is logged where it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum LogLevel {
    /// Part of every day, or told by the prober once for all.
    Debug,
    /// Worth a look.
    Warn,
    /// A defect.
    Error,
}
