//! `PHASE`: presets of the switches for the stages of the app that this project grew from. A switch's own variable
//! overrides its preset.

use super::reader::Reader;

/// The presets of one phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Preset {
    pub(super) cache: bool,
    pub(super) timeouts: bool,
    pub(super) redis_attempts: u32,
    pub(super) concurrency: Option<u32>,
    /// Breakers, single flight, stale-if-error and the retry budget, which the original app did not have.
    pub(super) beyond_the_notes: bool,
}

/// A stage of the original app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// 1: the plain app. 2: the same app in several replicas, with the switches of phase 1.
    Raw(u8),
    /// 3: with the cache.
    Cached,
    /// 4: with time-outs, two attempts for Redis, and at most 100 requests in flight.
    TimeoutsRetriesBackpressure,
    /// Not set: everything on.
    Full,
}

impl Phase {
    fn preset(self) -> Preset {
        let raw =
            Preset { cache: false, timeouts: false, redis_attempts: 1, concurrency: None, beyond_the_notes: false };
        let cached = Preset { cache: true, ..raw };
        let resilient = Preset { timeouts: true, redis_attempts: 2, concurrency: Some(100), ..cached };
        match self {
            Self::Raw(_) => raw,
            Self::Cached => cached,
            Self::TimeoutsRetriesBackpressure => resilient,
            Self::Full => Preset { beyond_the_notes: true, ..resilient },
        }
    }
}

pub(super) fn read(reader: &mut Reader) -> Preset {
    let parse = |text: &str| match text {
        "1" => Ok(Phase::Raw(1)),
        "2" => Ok(Phase::Raw(2)),
        "3" => Ok(Phase::Cached),
        "4" => Ok(Phase::TimeoutsRetriesBackpressure),
        _ => Err(format!("`{text}` is none of 1, 2, 3, 4")),
    };
    let show = |phase: &Phase| match phase {
        Phase::Raw(number) => number.to_string(),
        Phase::Cached => "3".to_owned(),
        Phase::TimeoutsRetriesBackpressure => "4".to_owned(),
        Phase::Full => "unset".to_owned(),
    };
    let meaning =
        "preset of the switches: 1 raw, 2 scaled, 3 cached, 4 time-outs, retries and backpressure; unset: all on";
    reader.value("PHASE", Phase::Full, meaning, parse, show).preset()
}
