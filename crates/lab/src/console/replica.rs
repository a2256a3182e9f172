//! One replica as the picture shows it, from two readings of its `/metrics`.

use super::metrics::{Between, Scrape};

/// The way from a replica, or from nginx, to the next server.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Edge {
    /// Requests per second.
    pub(super) rate: f64,
    /// Of these the share that failed, 0 to 1.
    pub(super) failed: f64,
    pub(super) p95_ms: Option<f64>,
}

impl Edge {
    /// Rates add up. Percentiles do not: the slower one is kept.
    pub(super) fn add(&mut self, other: Self) {
        let rate = self.rate + other.rate;
        if rate > 0.0 {
            self.failed = (self.failed * self.rate + other.failed * other.rate) / rate;
        }
        self.rate = rate;
        self.p95_ms = self.p95_ms.into_iter().chain(other.p95_ms).reduce(f64::max);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed,
    HalfOpen,
    Open,
}

impl Breaker {
    pub(super) fn of(scrape: &Scrape, dependency: &str) -> Option<Self> {
        let value = scrape.value("breaker_state", &[("dependency", dependency)])?;
        Some(if value >= 2.0 {
            Self::Open
        } else if value >= 1.0 {
            Self::HalfOpen
        } else {
            Self::Closed
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// Reads by what the cache said, in the time between two readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct CacheResults {
    pub(super) hit: f64,
    pub(super) stale: f64,
    pub(super) miss: f64,
    pub(super) bypass: f64,
    /// Corrupt, refreshed, revalidated.
    pub(super) other: f64,
}

impl CacheResults {
    fn between(between: &Between<'_>) -> Self {
        let name = "cache_requests_total";
        let of = |result: &str| between.growth(name, &[("result", result)]);
        let [hit, stale, miss, bypass] = ["hit", "stale", "miss", "bypass"].map(of);
        let other = (between.growth(name, &[]) - hit - stale - miss - bypass).max(0.0);
        Self { hit, stale, miss, bypass, other }
    }

    pub(super) fn add(&mut self, other: Self) {
        self.hit += other.hit;
        self.stale += other.stale;
        self.miss += other.miss;
        self.bypass += other.bypass;
        self.other += other.other;
    }

    fn total(&self) -> f64 {
        self.hit + self.stale + self.miss + self.bypass + self.other
    }

    /// Reads that Redis answered, of all; `None` where nothing was read.
    pub(super) fn hit_ratio(&self) -> Option<f64> {
        let total = self.total();
        (total > 0.0).then(|| (self.hit + self.stale) / total)
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Replica {
    /// 1 is one core.
    pub(super) cpu: Option<f64>,
    pub(super) memory_bytes: Option<f64>,
    pub(super) in_flight: Option<f64>,
    /// 0 when the limit is off.
    pub(super) limit: Option<f64>,
    pub(super) redis_breaker: Option<Breaker>,
    pub(super) postgres_breaker: Option<Breaker>,
    pub(super) pool_in_use: Option<f64>,
    pub(super) pool_max: Option<f64>,
    pub(super) is_draining: bool,
    /// What comes in.
    pub(super) requests: Edge,
    pub(super) redis: Edge,
    pub(super) postgres: Edge,
    pub(super) cache: CacheResults,
    /// Refused before any work, per second.
    pub(super) shed: f64,
}

impl Replica {
    /// `before` is missing for the first reading, and after a start anew: then there are no rates yet.
    pub(super) fn read(before: Option<&Scrape>, now: &Scrape, is_draining: bool) -> Self {
        let pool = |state: &str| now.value("pool_connections", &[("dependency", "postgres"), ("state", state)]);
        let mut replica = Self {
            memory_bytes: now.value("process_resident_memory_bytes", &[]),
            in_flight: now.value("admission_in_flight", &[]),
            limit: now.value("admission_limit", &[]),
            redis_breaker: Breaker::of(now, "redis"),
            postgres_breaker: Breaker::of(now, "postgres"),
            pool_in_use: pool("in_use"),
            pool_max: pool("max"),
            is_draining,
            ..Self::default()
        };
        if let Some(between) = before.and_then(|before| Between::new(before, now)) {
            let seconds = between.seconds();
            replica.cpu = Some(between.growth("process_cpu_seconds_total", &[]) / seconds);
            replica.requests = requests(&between);
            replica.redis = dependency(&between, "redis");
            replica.postgres = dependency(&between, "postgres");
            replica.cache = CacheResults::between(&between);
            replica.shed = between.growth("requests_shed_total", &[]) / seconds;
        }
        replica
    }
}

/// Requests to `/data` only: the others are those of the lab and of health checks.
fn requests(between: &Between<'_>) -> Edge {
    let total: f64 = DATA.iter().map(|route| between.growth("http_requests_total", &[("http_route", route)])).sum();
    if total <= 0.0 {
        return Edge::default();
    }
    let is_5xx = |status: &str| status.starts_with('5');
    let failed = between.growth_where("http_requests_total", "http_response_status_code", is_5xx);
    let p95 = DATA
        .iter()
        .filter_map(|route| between.quantile(0.95, "http_server_request_duration_seconds", &[("http_route", route)]))
        .reduce(f64::max);
    Edge {
        rate: total / between.seconds(),
        failed: (failed / total).min(1.0),
        p95_ms: p95.map(|seconds| seconds * 1e3),
    }
}

const DATA: [&str; 2] = ["/data", "/data/{id}"];

/// Calls that were not sent, because the breaker is open, are no traffic.
fn dependency(between: &Between<'_>, name: &str) -> Edge {
    let metric = "dependency_request_duration_seconds";
    let count = format!("{metric}_count");
    let of = |outcome: &str| between.growth(&count, &[("dependency", name), ("outcome", outcome)]);
    let [good, timeout, error] = ["ok", "timeout", "error"].map(of);
    let total = good + timeout + error;
    if total <= 0.0 {
        return Edge::default();
    }
    let sent = ["ok", "timeout", "error"];
    let p95 = sent
        .iter()
        .filter_map(|outcome| between.quantile(0.95, metric, &[("dependency", name), ("outcome", outcome)]))
        .reduce(f64::max);
    // Where nearly all succeed, the percentile is that of the good ones.
    let p95 = if good / total > 0.95 {
        between.quantile(0.95, metric, &[("dependency", name), ("outcome", "ok")])
    } else {
        p95
    };
    Edge {
        rate: total / between.seconds(),
        failed: (timeout + error) / total,
        p95_ms: p95.map(|seconds| seconds * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn rates_come_from_what_grew_between_two_readings() {
        let text = |n: u32| {
            format!(
                "process_start_time_seconds 1\nprocess_cpu_seconds_total {}\nadmission_limit 100\n\
                 http_requests_total{{http_route=\"/data/{{id}}\",http_response_status_code=\"200\"}} {}\n\
                 http_requests_total{{http_route=\"/data/{{id}}\",http_response_status_code=\"503\"}} {}\n\
                 cache_requests_total{{result=\"hit\"}} {}\ncache_requests_total{{result=\"bypass\"}} {}\n\
                 breaker_state{{dependency=\"redis\"}} 2\n",
                f64::from(n) * 0.5,
                75 * n,
                25 * n,
                60 * n,
                40 * n,
            )
        };
        let start = Instant::now();
        let before = Scrape::parse(&text(1), start);
        let after = Scrape::parse(&text(2), start + Duration::from_secs(2));
        let replica = Replica::read(Some(&before), &after, false);
        assert_eq!((replica.requests.rate, replica.requests.failed), (50.0, 0.25));
        assert_eq!(replica.cpu, Some(0.25));
        assert_eq!(replica.cache.hit_ratio(), Some(0.6));
        assert_eq!(replica.redis_breaker, Some(Breaker::Open));
        assert_eq!(Replica::read(None, &after, false).requests, Edge::default());
    }
}
