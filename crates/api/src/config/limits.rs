//! The deadline of a request, the limits in front of it, and the breakers.

use std::time::Duration;

use resilience::breaker::BreakerConfig;

use super::{phase::Preset, reader::Reader};

/// Five failures in a row are unlikely to be chance. Each takes at most one time-out, so an outage is detected within
/// half a second.
const BREAKER_FAILURES: u32 = 5;
/// With the prober's hint a breaker closes earlier; without it a breaker still recovers within the guaranteed 2 s.
const BREAKER_OPEN: Duration = Duration::from_secs(1);
/// One request tests the dependency; the others are refused without waiting.
const BREAKER_PROBES: u32 = 1;

/// The limit of requests to `/data` in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// A fixed number.
    Fixed(usize),
    /// Adapts to keep the waiting time short.
    Auto,
}

/// The limits of a request before it reaches a dependency.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// Time limit from the handler's start to the answer; `None` when time-outs are off.
    pub request_timeout: Option<Duration>,
    /// Time limit for a write to take effect, counted from the time at which nginx sent it; `None` when time-outs are
    /// off. nginx gives up after 1 s and may send the write to another replica. The default leaves 100 ms for a wait
    /// for a row lock, which begins after the last check of the clock, and 100 ms for differences between clocks.
    pub write_window: Option<Duration>,
    /// Limit of requests to `/data` in flight; `None`: no limit.
    pub concurrency: Option<Concurrency>,
    /// Limit of requests to `/data` per second; `None`: no limit.
    pub max_rps: Option<u32>,
    /// The circuit breakers of both dependencies; `None`: no breakers.
    pub breakers: Option<BreakerConfig>,
    /// The interval at which the prober checks each dependency.
    pub probe_interval: Duration,
}

impl LimitsConfig {
    pub(super) fn read(reader: &mut Reader, preset: Preset) -> Self {
        let timeouts = reader.switch("TIMEOUTS", preset.timeouts, "deadlines of requests, Redis and Postgres calls");
        let request_timeout = reader.duration("REQUEST_TIMEOUT", Duration::from_millis(300), "for the whole answer");
        let write_window = reader.duration(
            "WRITE_WINDOW",
            Duration::from_millis(800),
            "from nginx sending a write to its last moment to take effect",
        );
        let concurrency = reader.value(
            "CONCURRENCY_LIMIT",
            preset.concurrency.map(|limit| Concurrency::Fixed(limit as usize)),
            "requests to /data in flight, then 503; or auto, or off",
            parse_concurrency,
            |value| match value {
                Some(Concurrency::Fixed(limit)) => limit.to_string(),
                Some(Concurrency::Auto) => "auto".to_owned(),
                None => "off".to_owned(),
            },
        );
        let max_rps = reader.limit("MAX_RPS", None, (1, 1_000_000), "requests to /data per second, then 429; or off");
        let breakers = reader.switch("BREAKERS", preset.beyond_the_notes, "circuit breakers of Redis and Postgres");
        let breaker = BreakerConfig {
            failures: reader.number(
                "BREAKER_FAILURES",
                BREAKER_FAILURES,
                (1, 1_000),
                "failures in a row that open one",
            ),
            open_for: reader.duration("BREAKER_OPEN", BREAKER_OPEN, "how long it refuses before it tries again"),
            probes: BREAKER_PROBES,
        };
        let timed = |value| timeouts.then_some(value);
        Self {
            write_window: timed(write_window),
            request_timeout: timeouts.then_some(request_timeout),
            concurrency,
            max_rps,
            breakers: breakers.then_some(breaker),
            probe_interval: reader.duration(
                "PROBE_INTERVAL",
                Duration::from_millis(500),
                "how often each dependency is asked whether it answers",
            ),
        }
    }

    /// Whether time-outs are on.
    pub(super) fn timeouts(&self) -> bool {
        self.request_timeout.is_some()
    }
}

fn parse_concurrency(text: &str) -> Result<Option<Concurrency>, String> {
    match text {
        "off" => Ok(None),
        "auto" => Ok(Some(Concurrency::Auto)),
        number => match number.parse() {
            Ok(limit @ 1..=100_000) => Ok(Some(Concurrency::Fixed(limit))),
            _ => Err(format!("`{text}` is neither a whole number from 1 to 100000 nor `auto` nor `off`")),
        },
    }
}
