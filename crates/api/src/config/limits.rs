//! The request's own deadline, the limits in front of it, and the breakers.

use std::time::Duration;

use resilience::breaker::BreakerConfig;

use super::{phase::Preset, reader::Reader};

/// Five failures in a row are not chance. Each costs at most one time-out, so an outage is detected within half a
/// second.
const BREAKER_FAILURES: u32 = 5;
/// With the prober's hint a breaker closes earlier; alone it still meets "a good answer within 2 s".
const BREAKER_OPEN: Duration = Duration::from_secs(1);
/// One request probes the dependency; the others are refused without waiting.
const BREAKER_PROBES: u32 = 1;

/// How many requests to `/data` may be in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// What keeps the waiting time short on this machine.
    Auto,
}

/// What bounds a request before it reaches a dependency.
#[derive(Debug, Clone)]
pub struct LimitsConfig {
    /// From the first byte of the handler to the answer; `None`: time-outs are off.
    pub request_timeout: Option<Duration>,
    /// From the time at which nginx sent a write to the last moment at which it may take effect; `None`: time-outs are
    /// off. nginx gives up after 1 s and may send it to another replica; before that lie the wait for a row's lock,
    /// which begins after the last look at the clock (100 ms), and what clocks may differ by (100 ms).
    pub write_window: Option<Duration>,
    /// Requests to `/data` in flight; `None`: no limit.
    pub concurrency: Option<Concurrency>,
    /// Requests to `/data` per second; `None`: no limit.
    pub max_rps: Option<u32>,
    /// Circuit breakers of both dependencies; `None`: no breakers.
    pub breakers: Option<BreakerConfig>,
    /// How often the prober asks each dependency.
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

    /// Whether the time-outs are on.
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
