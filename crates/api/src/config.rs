//! The configuration: one struct per area, read from the environment in one place, with all errors reported at once.
//!
//! Nothing else in the crate reads the environment. Tests write the structs by hand.

use std::fmt;

mod database;
mod limits;
mod phase;
mod reader;
mod redis;
mod secret_file;
mod server;
mod server_url;
mod value;

pub use self::{
    database::DatabaseConfig,
    limits::{Concurrency, LimitsConfig},
    reader::{ConfigErrors, Reader},
    redis::{CacheConfig, NearCacheConfig, RedisConfig},
    server::ServerConfig,
};

/// The whole configuration of `api`.
#[derive(Debug, Clone)]
pub struct Config {
    /// Listener, names, logs, draining.
    pub server: ServerConfig,
    /// Postgres.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// The settings of the cache.
    pub cache: CacheConfig,
    /// The deadline of a request and the limits in front of it.
    pub limits: LimitsConfig,
    /// What `config check` prints: name, value, meaning.
    listing: Vec<reader::Listed>,
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// All errors of all variables.
    pub fn from_env() -> Result<Self, ConfigErrors> {
        Self::read(Reader::from_env())
    }

    /// Reads `variables` in place of the environment.
    ///
    /// # Errors
    /// All errors of all variables.
    pub fn from_variables<'a>(variables: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ConfigErrors> {
        Self::read(Reader::from_variables(variables))
    }

    fn read(mut reader: Reader) -> Result<Self, ConfigErrors> {
        let preset = phase::read(&mut reader);
        let server = ServerConfig::read(&mut reader);
        let limits = LimitsConfig::read(&mut reader, preset);
        let database = DatabaseConfig::read(&mut reader, &limits);
        let redis = RedisConfig::read(&mut reader, preset, &limits);
        let cache = CacheConfig::read(&mut reader, preset);
        let listing = reader.finish()?;
        Ok(Self { server, database, redis, cache, limits, listing })
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name_width = self.listing.iter().map(|entry| entry.name.len()).max().unwrap_or(0);
        let value_width = self.listing.iter().map(|entry| entry.value.len()).max().unwrap_or(0);
        for reader::Listed { name, value, origin, meaning } in &self.listing {
            writeln!(f, "{name:name_width$}  {value:value_width$}  {origin:7}  {meaning}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NEEDED: [(&str, &str); 2] =
        [("DATABASE_URL", "postgres://app:s3cret@localhost/app"), ("REDIS_URL", "redis://:s3cret@localhost:6379/0")];

    fn with(extra: &[(&'static str, &'static str)]) -> Result<Config, ConfigErrors> {
        Config::from_variables(NEEDED.iter().chain(extra).copied())
    }

    fn faults(extra: &[(&'static str, &'static str)]) -> String {
        with(extra).expect_err("the configuration is wrong").to_string()
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let config = with(&[]).expect("the defaults are right");
        assert_eq!(config.redis.attempt_timeout, Some(Duration::from_millis(40)));
        assert_eq!(config.redis.timeout, Some(Duration::from_millis(80)));
        assert_eq!(config.redis.attempts, 2);
        assert_eq!(config.database.acquire_timeout, Some(Duration::from_millis(100)));
        assert_eq!(config.database.statement_timeout, Some(Duration::from_millis(150)));
        assert_eq!(config.limits.request_timeout, Some(Duration::from_millis(300)));
        assert_eq!(config.limits.concurrency, Some(Concurrency::Fixed(100)));
        assert_eq!(config.limits.max_rps, None);
        assert!(config.limits.breakers.is_some() && config.redis.retry_budget);
        assert!(config.cache.enabled && config.cache.stale_if_error && config.cache.single_flight);
    }

    #[test]
    fn all_faults_are_reported_at_once() {
        let text = faults(&[
            ("LISTEN_ADDR", "nowhere"),
            ("REQUEST_TIMEOUT", "300"),
            ("CACHE", "maybe"),
            ("REDIS_ATTEMPTS", "0"),
            ("REDIS_ATTEMPT_TIMEOUT", "90ms"),
        ]);
        for name in ["LISTEN_ADDR", "REQUEST_TIMEOUT", "CACHE", "REDIS_ATTEMPTS", "REDIS_ATTEMPT_TIMEOUT"] {
            assert!(text.contains(name), "{name} is missing in:\n{text}");
        }
    }

    #[test]
    fn a_child_larger_than_its_parent_is_refused() {
        assert!(faults(&[("REDIS_TIMEOUT", "400ms")]).contains("REQUEST_TIMEOUT"));
        assert!(faults(&[("DB_STATEMENT_TIMEOUT", "1s")]).contains("REQUEST_TIMEOUT"));
        assert!(faults(&[("DB_ACQUIRE_TIMEOUT", "200ms")]).contains("REQUEST_TIMEOUT"), "200 + 150 > 300");
        assert!(faults(&[("CACHE_FRESH", "2h")]).contains("CACHE_KEEP"));
        assert!(faults(&[("DRAIN_DELAY", "5s"), ("DRAIN_TIMEOUT", "6s")]).contains("10s"));
    }

    #[test]
    fn the_near_cache_is_off_until_it_is_asked_for_and_has_a_limit() {
        assert!(with(&[]).expect("right").cache.near.is_none());
        let on = with(&[("NEAR_CACHE", "on")]).expect("right");
        assert_eq!(on.cache.near.map(|near| near.bytes), Some(16 * 1024 * 1024));
        for bytes in ["0", "1048575", "4294967296", "16MiB"] {
            assert!(
                faults(&[("NEAR_CACHE", "on"), ("NEAR_CACHE_BYTES", bytes)]).contains("NEAR_CACHE_BYTES"),
                "{bytes}"
            );
        }
        assert!(faults(&[("NEAR_CACHE", "on"), ("CACHE", "off")]).contains("NEAR_CACHE"));
        assert!(with(&[("CACHE", "off")]).is_ok());
    }

    #[test]
    fn a_missing_url_names_the_variable_and_its_form() {
        let text = Config::from_variables([]).expect_err("both URLs are missing").to_string();
        assert!(text.contains("DATABASE_URL") && text.contains("REDIS_URL") && text.contains("postgres://"));
    }

    #[test]
    fn no_secret_is_printed_anywhere() {
        let config = with(&[]).expect("right");
        assert!(!format!("{config}").contains("s3cret") && !format!("{config:?}").contains("s3cret"));
        let wrong =
            Config::from_variables([("DATABASE_URL", "mysql://app:s3cret@h/d"), ("REDIS_URL", "http://:s3cret@h")]);
        assert!(!wrong.expect_err("wrong schemes").to_string().contains("s3cret"));
    }

    #[test]
    fn a_phase_presets_the_switches_and_a_variable_beats_the_phase() {
        let raw = with(&[("PHASE", "1")]).expect("right");
        assert!(!raw.cache.enabled && raw.limits.request_timeout.is_none() && raw.limits.concurrency.is_none());
        assert!(raw.limits.breakers.is_none() && raw.redis.attempts == 1 && raw.database.statement_timeout.is_none());
        let cached = with(&[("PHASE", "3")]).expect("right");
        assert!(cached.cache.enabled && cached.redis.timeout.is_none() && !cached.cache.stale_if_error);
        let timeouts = with(&[("PHASE", "4")]).expect("right");
        assert!(timeouts.redis.attempts == 2 && timeouts.limits.concurrency == Some(Concurrency::Fixed(100)));
        assert!(timeouts.limits.breakers.is_none(), "the notes' app had no breakers");
        let beaten = with(&[("PHASE", "1"), ("CACHE", "on"), ("CONCURRENCY_LIMIT", "7")]).expect("right");
        assert!(beaten.cache.enabled && beaten.limits.concurrency == Some(Concurrency::Fixed(7)));
        assert_eq!(with(&[("CONCURRENCY_LIMIT", "auto")]).expect("right").limits.concurrency, Some(Concurrency::Auto));
        assert!(faults(&[("CONCURRENCY_LIMIT", "0")]).contains("auto"));
        assert!(faults(&[("PHASE", "5")]).contains("PHASE"));
    }
}
