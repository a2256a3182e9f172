//! Redis: its address, the time-outs, and the settings of the cache.

use std::time::Duration;

use deadpool_redis::redis::IntoConnectionInfo;
use secrecy::SecretString;

use super::{
    limits::LimitsConfig,
    phase::Preset,
    reader::{KEEP, Reader},
    server_url::{self, UrlForm},
};

/// The URL parameters that the Redis client supports.
pub(super) const URL: UrlForm = UrlForm {
    variable: "REDIS_URL",
    variable_file: "REDIS_URL_FILE",
    password_file: "REDIS_PASSWORD_FILE",
    server: "Redis",
    schemes: &["redis"],
    example: "redis://user:password@host:6379/0",
    shown: &["protocol"],
    hidden: &[],
    is_understood: |url| url.into_connection_info().is_ok(),
};

/// How to connect to Redis.
#[derive(Debug, Clone)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/db`, including the password.
    pub url: SecretString,
    /// Time limit of one attempt; `None` when time-outs are off.
    pub attempt_timeout: Option<Duration>,
    /// Time limit of all attempts of one call; `None` when time-outs are off.
    pub timeout: Option<Duration>,
    /// Number of attempts, including the first.
    pub attempts: u32,
    /// Whether a budget limits retries too.
    pub retry_budget: bool,
}

impl RedisConfig {
    pub(super) fn read(reader: &mut Reader, preset: Preset, limits: &LimitsConfig) -> Self {
        let url = server_url::read(reader, &URL);
        let attempt = reader.duration("REDIS_ATTEMPT_TIMEOUT", Duration::from_millis(40), "for one attempt");
        let total = reader.duration("REDIS_TIMEOUT", Duration::from_millis(80), "for all attempts of one call");
        let config = Self {
            url,
            attempt_timeout: limits.timeouts().then_some(attempt),
            timeout: limits.timeouts().then_some(total),
            attempts: reader.number("REDIS_ATTEMPTS", preset.redis_attempts, (1, 10), "attempts, the first included"),
            retry_budget: reader.switch(
                "RETRY_BUDGET",
                preset.beyond_the_notes,
                "retries at most a tenth of the calls",
            ),
        };
        reader.fits(("REDIS_ATTEMPT_TIMEOUT", config.attempt_timeout), ("REDIS_TIMEOUT", config.timeout));
        reader.fits(("REDIS_TIMEOUT", config.timeout), ("REQUEST_TIMEOUT", limits.request_timeout));
        config
    }
}

/// The settings of the cache.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Whether the cache in Redis is used.
    pub enabled: bool,
    /// How long an entry is served without reading Postgres. If Redis misses a write, an older version may be served
    /// for at most this time and one renewal (300 ms).
    pub fresh: Duration,
    /// How long an entry is kept for use while Postgres is unavailable.
    pub keep: Duration,
    /// How long the cache remembers that a record does not exist.
    pub missing: Duration,
    /// Whether an old entry is served when Postgres does not answer.
    pub stale_if_error: bool,
    /// Whether simultaneous reads of one key share one read of Postgres.
    pub single_flight: bool,
    /// The in-process cache of records; `None` when `NEAR_CACHE` is off.
    pub near: Option<NearCacheConfig>,
}

/// The settings of the near cache.
#[derive(Debug, Clone)]
pub struct NearCacheConfig {
    /// Memory for all entries, including the overhead of the map. One entry takes at most a sixteenth.
    pub bytes: u64,
}

/// One megabyte holds a record of any permitted size whose JSON needs no escapes; four gigabytes are more than a
/// process of this service should use.
const NEAR_BYTES: (u32, u32) = (1024 * 1024, u32::MAX);

impl NearCacheConfig {
    fn read(reader: &mut Reader, cache_is_on: bool) -> Option<Self> {
        let enabled = reader.switch("NEAR_CACHE", false, "hot records in the process; reads may be old by 200 ms");
        let bytes = reader.number("NEAR_CACHE_BYTES", 16 * 1024 * 1024, NEAR_BYTES, "what the near cache may take");
        if enabled && !cache_is_on {
            reader.fault("NEAR_CACHE", "is `on` while CACHE is `off`: it holds what the cache in Redis holds");
        }
        enabled.then_some(Self { bytes: u64::from(bytes) })
    }
}

impl CacheConfig {
    pub(super) fn read(reader: &mut Reader, preset: Preset) -> Self {
        let enabled = reader.switch("CACHE", preset.cache, "reads through Redis");
        let config = Self {
            enabled,
            fresh: reader.duration_within(
                "CACHE_FRESH",
                Duration::from_secs(30),
                KEEP,
                "how long an entry counts as fresh",
            ),
            keep: reader.duration_within("CACHE_KEEP", Duration::from_secs(3_600), KEEP, "how long an entry is kept"),
            missing: reader.duration_within(
                "CACHE_MISSING",
                Duration::from_secs(2),
                KEEP,
                "how long a missing id is remembered",
            ),
            stale_if_error: reader.switch(
                "STALE_IF_ERROR",
                preset.beyond_the_notes,
                "old entries answer while Postgres does not",
            ),
            single_flight: reader.switch(
                "SINGLE_FLIGHT",
                preset.beyond_the_notes,
                "one read of Postgres per key at a time",
            ),
            near: NearCacheConfig::read(reader, enabled),
        };
        reader.fits(("CACHE_FRESH", Some(config.fresh)), ("CACHE_KEEP", Some(config.keep)));
        reader.fits(("CACHE_MISSING", Some(config.missing)), ("CACHE_KEEP", Some(config.keep)));
        config
    }
}
