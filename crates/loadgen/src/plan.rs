//! A complete description of a run: requests, server, rate, length, and the criterion of success.
//!
//! The command line and workload files both produce a [`Plan`]; a program that uses this crate constructs one directly.
//! [`Plan::check`] refuses invalid values before the first connection.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::MAX_CHECKS;
use crate::curve::{Curve, MAX_RATE};
use crate::duration;
use crate::error::LoadError;
use crate::ids::Ids;
use crate::outcome::ErrorClass;
use crate::pacer::{Arrivals, Schedule, Share};
use crate::report::condition::Condition;
use crate::secrets;
use crate::target::Target;
use crate::template::{MAX_VARIABLES, Mix, RequestSpec};

/// The number of users in the notes that this project grew from.
pub(crate) const DEFAULT_CONNECTIONS: usize = 10;
/// An open loop opens connections only when it needs them. The limit shows a problem; it is not meant to be reached.
pub(crate) const DEFAULT_CONNECTIONS_OPEN: usize = 1_000;
/// The client's time-out, longer than all time-outs of the service (request 300 ms, nginx 1 s).
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_DURATION: Duration = Duration::from_secs(10);

/// No request may take longer.
const TIMEOUTS: (Duration, Duration) = (Duration::from_millis(1), Duration::from_secs(60));
/// One address has 65,536 ports.
const MAX_CONNECTIONS: usize = 65_536;
const MAX_THREADS: usize = 64;
/// A week: longer than any practical run.
pub(crate) const MAX_LENGTH: Duration = Duration::from_secs(7 * 86_400);
const MAX_ATTEMPTS: u32 = 100;

#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    pub requests: Vec<RequestSpec>,
    /// The variables for the `{names}` in requests.
    pub variables: Vec<(String, Ids)>,
    pub load: Load,
    /// Closed loop: the number of users. Open loop: the limit of requests in flight.
    pub connections: usize,
    /// Event loops, each with its share of the connections.
    pub threads: usize,
    /// The time-out of each attempt, from its start to the last byte.
    pub timeout: Duration,
    pub keep_alive: bool,
    /// Time before the run in which requests are sent and not recorded.
    pub warmup: Duration,
    pub retries: Retries,
    pub success: Statuses,
    /// The seed of all random choices of the run: arrivals, kinds of requests, ids.
    pub seed: u64,
    /// The length of one step of the time series. A run of more than 7,200 steps is stored in longer ones.
    pub interval: Duration,
    /// The certificate authorities to trust instead of those of the system; only with `https://`.
    pub ca_file: Option<PathBuf>,
    /// The conditions under which the run fails.
    pub fail_if: Vec<Condition>,
    /// Whether the run ends as soon as one of these conditions is broken.
    pub abort: bool,
}

/// The rule that decides when the next request is sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// Each connection sends its next request when it has its answer. The first limit that is reached ends the run.
    Closed { requests: Option<u64>, duration: Option<Duration> },
    /// Requests are sent by the curve, whether or not earlier ones were answered.
    Open { curve: Curve, arrivals: Arrivals, requests: Option<u64> },
}

/// The retries of a naive client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retries {
    /// The largest number of attempts per request; 1 means no retry.
    pub attempts: u32,
    pub backoff_ms: f64,
    /// The statuses (`503`, `5xx`) that are retried. A request without an answer always is.
    pub on: Statuses,
    /// The largest number of retries per request: 0.1 allows one retry for ten requests. `None`: only attempts are
    /// limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<f64>,
}

impl Retries {
    fn check(&self) -> Result<(), LoadError> {
        let attempts = self.attempts;
        bound(
            "the number of attempts",
            (1..=MAX_ATTEMPTS).contains(&attempts),
            format!("must be between 1 (no retry) and {MAX_ATTEMPTS}, not {attempts}"),
        )?;
        let backoff = self.backoff_ms;
        bound(
            "the back-off",
            (0.0..=60_000.0).contains(&backoff),
            format!("must be between 0 and 60s, not {backoff} ms"),
        )?;
        let budget = self.budget.unwrap_or_default();
        bound(
            "the budget for retries",
            (0.0..=f64::from(MAX_ATTEMPTS)).contains(&budget),
            format!("must be between 0 and {MAX_ATTEMPTS} per request, not {budget}"),
        )?;
        Ok(())
    }

    #[must_use]
    pub fn none() -> Self {
        Self { attempts: 1, backoff_ms: 0.0, on: Statuses(Vec::new()), budget: None }
    }
}

/// A class of statuses, `2xx` or `200, 404`; success is `2xx` unless the plan says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Statuses(Vec<String>);

impl Default for Statuses {
    fn default() -> Self {
        Self(vec!["2xx".to_owned()])
    }
}

impl Statuses {
    /// Parses `200`, `2xx`, `2xx,404`.
    ///
    /// # Errors
    /// The part that is neither a status nor a class.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<String> = text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect();
        for word in &words {
            let is_class = matches!(word.as_bytes(), [b'1'..=b'5', b'x', b'x']);
            if !is_class && !matches!(word.parse::<u16>(), Ok(100..600)) {
                return Err(format!("{word:?} is neither a status such as 200 nor a class such as 2xx"));
            }
        }
        Ok(Self(words))
    }

    /// Statuses that indicate a fault of the server rather than of the request.
    #[must_use]
    pub fn server_errors() -> Self {
        Self(vec!["5xx".to_owned()])
    }

    /// Whether an answer with this status counts as a success.
    #[must_use]
    pub fn contains(&self, status: u16) -> bool {
        self.table().get(usize::from(status)).copied().unwrap_or(false)
    }

    /// Whether each status from 0 to 599 is in the class.
    pub(crate) fn table(&self) -> [bool; 600] {
        std::array::from_fn(|status| {
            self.0.iter().any(|word| match word.parse::<usize>() {
                Ok(exact) => exact == status,
                Err(_) => word.as_bytes()[0] - b'0' == (status / 100) as u8,
            })
        })
    }
}

impl Plan {
    /// GET requests of one path, with default settings.
    ///
    /// # Errors
    /// The URL is not valid.
    pub fn get(url: &str, load: Load) -> Result<Self, LoadError> {
        let (target, path) = Target::parse(url)?;
        Ok(Self::new(target, vec![RequestSpec::get(path)], load))
    }

    #[must_use]
    pub fn new(target: Target, requests: Vec<RequestSpec>, load: Load) -> Self {
        let connections = match load {
            Load::Closed { .. } => DEFAULT_CONNECTIONS,
            Load::Open { .. } => DEFAULT_CONNECTIONS_OPEN,
        };
        Self {
            target,
            requests,
            variables: Vec::new(),
            load,
            connections,
            threads: 1,
            timeout: DEFAULT_TIMEOUT,
            keep_alive: true,
            warmup: Duration::ZERO,
            retries: Retries::none(),
            success: Statuses::default(),
            seed: 1,
            interval: Duration::from_secs(1),
            ca_file: None,
            fail_if: Vec::new(),
            abort: false,
        }
    }

    /// The same plan with another length: the curve of an open loop is stretched.
    ///
    /// # Errors
    /// The length is out of bounds.
    pub fn lasting(mut self, length: Duration) -> Result<Self, LoadError> {
        self.load = match self.load {
            Load::Closed { requests, .. } => Load::Closed { requests, duration: Some(length) },
            Load::Open { curve, arrivals, requests } if !length.is_zero() => {
                Load::Open { curve: curve.stretched_to(length), arrivals, requests }
            }
            open @ Load::Open { .. } => open,
        };
        self.check()?;
        Ok(self)
    }

    /// The planned length without the warm-up, if there is one.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        match &self.load {
            Load::Closed { duration, .. } => *duration,
            // A run with the longest possible length is limited only by its number of requests.
            Load::Open { curve, .. } => Some(curve.length()).filter(|length| *length < MAX_LENGTH),
        }
    }

    /// The number of requests after which the run ends, if there is one.
    #[must_use]
    pub fn count(&self) -> Option<u64> {
        match &self.load {
            Load::Closed { requests, .. } | Load::Open { requests, .. } => *requests,
        }
    }

    /// Refuses invalid settings, with the bounds in the message.
    ///
    /// # Errors
    /// The first invalid setting.
    pub fn check(&self) -> Result<(), LoadError> {
        let range = |low: Duration, high: Duration, got: Duration| {
            format!(
                "must be between {} and {}, not {}",
                duration::format(low),
                duration::format(high),
                duration::format(got)
            )
        };
        let connections = self.connections;
        bound(
            "the number of connections",
            (1..=MAX_CONNECTIONS).contains(&connections),
            format!("must be between 1 and {MAX_CONNECTIONS} (an address has no more ports), not {connections}"),
        )?;
        bound(
            "the number of threads",
            (1..=MAX_THREADS.min(connections)).contains(&self.threads),
            format!("must be between 1 and the number of connections, {MAX_THREADS} at most, not {}", self.threads),
        )?;
        bound(
            "the time-out",
            (TIMEOUTS.0..=TIMEOUTS.1).contains(&self.timeout),
            range(TIMEOUTS.0, TIMEOUTS.1, self.timeout),
        )?;
        bound("the warm-up", self.warmup <= MAX_LENGTH, range(Duration::ZERO, MAX_LENGTH, self.warmup))?;
        if let Some(length) = self.length() {
            let least = Duration::from_millis(1);
            bound("the duration", (least..=MAX_LENGTH).contains(&length), range(least, MAX_LENGTH, length))?;
        }
        let interval = (Duration::from_millis(10), Duration::from_secs(3_600));
        bound(
            "the interval of the series",
            (interval.0..=interval.1).contains(&self.interval),
            range(interval.0, interval.1, self.interval),
        )?;
        bound("the number of requests", self.count() != Some(0), "must be at least 1".to_owned())?;
        if let Load::Closed { requests: None, duration: None } = self.load {
            return Err(LoadError::setting("the run", "has no end: give a number of requests or a duration"));
        }
        if let Load::Open { curve, .. } = &self.load {
            let peak = curve.stages().iter().fold(0.0_f64, |peak, stage| peak.max(stage.from).max(stage.to));
            bound("the rate", peak <= MAX_RATE, format!("must be at most {MAX_RATE} requests per second, not {peak}"))?;
            let first = self.schedule(curve, Share { index: 0, of: 1 }).next();
            bound("the rate", first.is_some(), "is so low that the run would send nothing".to_owned())?;
        }
        self.retries.check()?;
        bound("the workload", !self.requests.is_empty(), "has no requests".to_owned())?;
        bound(
            "the number of variables",
            self.variables.len() <= MAX_VARIABLES,
            format!("must be at most {MAX_VARIABLES}, not {}", self.variables.len()),
        )?;
        bound(
            "the number of checks",
            self.requests.iter().all(|request| request.checks.len() <= MAX_CHECKS),
            format!("must be at most {MAX_CHECKS} for each kind of request"),
        )?;
        let kinds = self.kinds();
        self.fail_if.iter().try_for_each(|condition| condition.check_kind(&kinds))?;
        self.mix().map(drop)
    }

    /// One thread's part of the schedule, including the warm-up.
    pub(crate) fn schedule(&self, curve: &Curve, share: Share) -> Schedule {
        let arrivals = match &self.load {
            Load::Closed { .. } => Arrivals::default(),
            Load::Open { arrivals, .. } => *arrivals,
        };
        Schedule::new(&curve.clone().warmed_up(self.warmup), arrivals, self.seed, share)
    }

    /// The unique name of each kind of request: its own, or method and path with secrets masked.
    #[must_use]
    pub fn kinds(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::with_capacity(self.requests.len());
        for request in &self.requests {
            let name = request
                .name
                .clone()
                .unwrap_or_else(|| format!("{} {}", request.method, secrets::mask_url(&request.path)));
            let same = |known: &&String| **known == name || known.starts_with(&format!("{name} #"));
            match names.iter().filter(same).count() {
                0 => names.push(name),
                earlier => names.push(format!("{name} #{}", earlier + 1)),
            }
        }
        names
    }

    /// A hash (FNV-1a) of the requests and variables, that is of everything that is sent.
    pub(crate) fn requests_hash(&self) -> String {
        let text = format!("{:?} {:?}", self.requests, self.variables);
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
    }

    pub(crate) fn mix(&self) -> Result<Mix, LoadError> {
        Mix::new(&self.requests, &self.variables, self.target.authority(), self.keep_alive)
            .map_err(|(index, _, reason)| LoadError::setting("the request", format!("{}: {reason}", index + 1)))
    }
}

fn bound(what: &'static str, ok: bool, reason: String) -> Result<(), LoadError> {
    if ok { Ok(()) } else { Err(LoadError::setting(what, reason)) }
}

/// Whether a naive client retries.
pub(crate) fn is_retried(class: ErrorClass) -> bool {
    // A retry from a machine that has run out of ports makes it worse.
    class != ErrorClass::Local
}

/// RFC 9110, 9.2.2. Methods are case-sensitive; an unknown one is not idempotent.
pub(crate) fn is_idempotent(method: &str) -> bool {
    matches!(method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS" | "TRACE")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan::get("http://h/", Load::Closed { requests: Some(1), duration: None }).unwrap()
    }

    #[test]
    fn refuses_zero_and_absurd_settings() {
        assert!(plan().check().is_ok());
        type Break = fn(&mut Plan);
        let refused: [(&str, Break); 10] = [
            ("connections", |p| p.connections = 0),
            ("connections", |p| p.connections = 1_000_000),
            ("threads", |p| p.threads = 11),
            ("time-out", |p| p.timeout = Duration::ZERO),
            ("time-out", |p| p.timeout = Duration::from_secs(61)),
            ("number of requests", |p| p.load = Load::Closed { requests: Some(0), duration: None }),
            ("no end", |p| p.load = Load::Closed { requests: None, duration: None }),
            ("attempts", |p| p.retries.attempts = 0),
            ("budget", |p| p.retries.budget = Some(-0.1)),
            ("no requests", |p| p.requests.clear()),
        ];
        for (word, break_it) in refused {
            let mut plan = plan();
            break_it(&mut plan);
            let error = plan.check().unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn success_is_a_class_of_statuses() {
        let table = Statuses::parse("2xx, 404").unwrap().table();
        let good: Vec<usize> = (0..600).filter(|status| table[*status]).collect();
        assert_eq!((good.len(), good[0], good[99], good[100]), (101, 200, 299, 404));
        for text in ["", "6xx", "2x", "99", "ok", "200,"] {
            assert!(Statuses::parse(text).is_err(), "{text:?}");
        }
    }
}
