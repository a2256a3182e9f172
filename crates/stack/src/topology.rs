//! The settings of a stack that can be changed while it runs.

use serde::{Deserialize, Serialize};

use crate::{StackError, UpOptions};

/// Each replica holds a few of Postgres's 100 connections.
const MOST_REPLICAS: u32 = 16;

/// A hundredth of a core is the minimum that the kernel accepts.
const CPUS: std::ops::RangeInclusive<f64> = 0.01..=64.0;

/// The variable that sets how many connections to Postgres a replica may hold.
const CONNECTIONS: &str = "DB_MAX_CONNECTIONS";

/// The variable by which a replica is told how many requests it admits at a time, and its default.
const CONCURRENCY_LIMIT: &str = "CONCURRENCY_LIMIT";
const DEFAULT_CONCURRENCY_LIMIT: u32 = 100;

/// The number of replicas and their settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Topology {
    pub replicas: u32,
    /// Sets `PHASE`; `None` leaves every mechanism on.
    pub phase: Option<u8>,
    /// More variables, such as the switches.
    pub env: Vec<(String, String)>,
    /// CPU quota of each replica, in cores; `None`: no quota.
    pub cpus: Option<f64>,
}

/// The order in which replicas are restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// One by one; each drains first and answers again before the next one stops.
    Rolling,
    /// All are stopped, then all are started: the service is unavailable in between.
    AllAtOnce,
}

impl Topology {
    /// Sets a variable; replaces an earlier value.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        match self.env.iter_mut().rfind(|(known, _)| known == name) {
            Some((_, known)) => value.clone_into(known),
            None => self.env.push((name.to_owned(), value.to_owned())),
        }
        self
    }

    /// Sets the number of connections to Postgres that each replica may hold.
    #[must_use]
    pub fn with_connections(self, most: u32) -> Self {
        self.with(CONNECTIONS, &most.to_string())
    }

    /// How many requests at a time each replica admits; `None`: any number.
    pub(crate) fn concurrency_limit(&self) -> Option<u32> {
        let set = self.env.iter().rfind(|(known, _)| known == CONCURRENCY_LIMIT);
        match set.map(|(_, value)| value.as_str()) {
            Some("off") => None,
            // `auto`: a replica lowers its limit when it has to. A value that is wrong is reported by the replica.
            Some(text) => Some(text.parse().unwrap_or(DEFAULT_CONCURRENCY_LIMIT)),
            // Backpressure came with the fourth phase.
            None => self.phase.is_none_or(|phase| phase >= 4).then_some(DEFAULT_CONCURRENCY_LIMIT),
        }
    }

    /// Whether existing replicas can keep running unchanged.
    pub(crate) fn runs_alike(&self, other: &Self) -> bool {
        self.phase == other.phase && self.env == other.env && self.cpus == other.cpus
    }

    pub(crate) fn check(&self) -> Result<(), StackError> {
        if !(1..=MOST_REPLICAS).contains(&self.replicas) {
            let text = format!("a stack has 1 to {MOST_REPLICAS} replicas, not {}", self.replicas);
            return Err(StackError::Usage(text));
        }
        if let Some(phase) = self.phase
            && !(1..=4).contains(&phase)
        {
            return Err(StackError::Usage(format!("the phase must be 1 to 4, not {phase}")));
        }
        match self.cpus {
            Some(cpus) if !CPUS.contains(&cpus) => {
                Err(StackError::Usage(format!("--cpus takes {} to {} cores, not {cpus}", CPUS.start(), CPUS.end())))
            }
            _ => Ok(()),
        }
    }
}

impl From<&UpOptions> for Topology {
    fn from(options: &UpOptions) -> Self {
        Self { replicas: options.replicas, phase: options.phase, env: options.env.clone(), cpus: options.cpus }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absurd_shapes_are_refused() {
        let good = Topology { replicas: 3, ..Topology::default() };
        assert!(good.check().is_ok());
        for bad in [
            Topology { replicas: 0, ..good.clone() },
            Topology { replicas: 17, ..good.clone() },
            Topology { phase: Some(0), ..good.clone() },
            Topology { phase: Some(5), ..good.clone() },
            Topology { cpus: Some(0.0), ..good.clone() },
            Topology { cpus: Some(f64::NAN), ..good.clone() },
            Topology { cpus: Some(f64::INFINITY), ..good.clone() },
        ] {
            assert!(matches!(bad.check(), Err(StackError::Usage(_))), "{bad:?}");
        }
    }

    #[test]
    fn a_variable_has_one_value() {
        let topology = Topology::default().with("CACHE", "on").with("CACHE", "off").with_connections(2);
        let expected = [("CACHE", "off"), ("DB_MAX_CONNECTIONS", "2")].map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(topology.env, expected);
    }

    #[test]
    fn the_limit_of_requests_follows_the_switch_and_the_phase() {
        let limit = |phase, value: Option<&str>| {
            let topology = Topology { replicas: 3, phase, ..Topology::default() };
            value.map_or(topology.clone(), |value| topology.with("CONCURRENCY_LIMIT", value)).concurrency_limit()
        };
        assert_eq!((limit(None, None), limit(Some(4), None), limit(Some(3), None)), (Some(100), Some(100), None));
        assert_eq!((limit(None, Some("off")), limit(Some(1), Some("7"))), (None, Some(7)));
        assert_eq!(limit(None, Some("auto")), Some(100));
    }
}
