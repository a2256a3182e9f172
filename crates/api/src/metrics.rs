//! Every metric of the service, declared once, with its help text. `docs/metrics.md` is generated from this file.

use prometheus::{
    Encoder, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
    proto::{LabelPair, Metric, MetricFamily},
};

#[cfg(test)]
mod document;
pub mod process;
pub mod requests;

/// Bucket bounds in seconds. 0.2, 0.32 and 0.4 allow "p95 ≤ 320 ms" to be judged; the small ones distinguish a cache
/// hit from a read of Postgres.
const DURATION_BUCKETS: [f64; 18] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.08, 0.1, 0.15, 0.2, 0.25, 0.32, 0.4, 0.8, 1.0, 2.5];

/// The declaration of a metric, for its documentation.
#[derive(Debug, Clone, Copy)]
pub struct Declared {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type, which determines its Prometheus type.
    pub kind: &'static str,
    /// Its help text.
    pub help: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
}

macro_rules! declare {
    ($($field:ident: $kind:ident($name:literal, $help:literal, $labels:expr);)*) => {
        /// All metrics except those of the process.
        pub const DECLARED: &[Declared] =
            &[$(Declared { name: $name, kind: stringify!($kind), help: $help, labels: &$labels }),*];

        /// The metrics, one field each.
        #[derive(Debug, Clone)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            /// Declares all metrics in a new registry.
            ///
            /// # Errors
            /// Two metrics have the same name: a defect of this file.
            pub fn new() -> prometheus::Result<Self> {
                let registry = Registry::new();
                $(
                    let $field: $kind = Declare::declare($name, $help, &$labels)?;
                    registry.register(Box::new($field.clone()))?;
                )*
                registry.register(Box::new(process::ProcessCollector::new()?))?;
                Ok(Self { registry, $($field),* })
            }
        }
    };
}

declare! {
    request_duration: HistogramVec(
        "http_server_request_duration_seconds",
        "Time from the request's head to its answer, in seconds.",
        ["http_request_method", "http_route", "http_response_status_code"]
    );
    requests: IntCounterVec(
        "http_requests_total",
        "Requests that were answered, cut off, shed or cancelled by their client; code is empty on success.",
        ["http_request_method", "http_route", "http_response_status_code", "code"]
    );
    active_requests: IntGauge("http_server_active_requests", "Requests in flight, over all routes.", []);
    connections: IntGauge("http_server_connections", "Open client connections.", []);
    admission_in_flight: IntGauge("admission_in_flight", "Requests to /data that hold a place.", []);
    admission_limit: IntGauge("admission_limit", "Places for requests to /data; 0 when the limit is off.", []);
    requests_shed: IntCounterVec(
        "requests_shed_total",
        "Requests to /data refused before any work: overloaded (no place free) or rate_limited.",
        ["reason"]
    );
    cache_requests: IntCounterVec(
        "cache_requests_total",
        "Reads by what the cache said: near (a fresh entry of the near cache), hit, stale (an old entry was served), miss, corrupt (what was there could not be \
         read and was replaced), refresh (an old entry was renewed), revalidated (the client asked to go past it), \
         bypass (it could not answer, or was not asked).",
        ["result"]
    );
    cache_writes: IntCounterVec(
        "cache_writes_total",
        "Entries sent to the cache: stored, superseded (a newer version was there), too_large, refused (Redis takes no \
         writes), failed (Redis did not answer).",
        ["result"]
    );
    cache_missed_writes: IntGauge(
        "cache_missed_writes",
        "Records whose last write Redis missed; they are read from Postgres until the cache is repaired.",
        []
    );
    near_cache_listening: IntGauge(
        "near_cache_listening",
        "Whether Redis reports changes to the near cache (1) or not (0); 0 when NEAR_CACHE is off.",
        []
    );
    near_cache_entries: IntGauge("near_cache_entries", "Entries in the near cache.", []);
    near_cache_bytes: IntGauge("near_cache_bytes", "Bytes that the entries of the near cache take.", []);
    near_cache_invalidations: IntCounter(
        "near_cache_invalidations_total",
        "Keys that Redis reported as changed to the near cache, whether it held them or not; a flush is one.",
        []
    );
    near_cache_drops: IntCounterVec(
        "near_cache_drops_total",
        "Entries that the near cache removed or did not take: changed (Redis reported it, or a read saw it), written (by this replica), \
         evicted (the limit), flushed (all of Redis), lost (Redis does not report changes any more), overtaken (changed \
         between look-up and insertion), too_large.",
        ["reason"]
    );
    collapsed_reads: IntCounterVec(
        "collapsed_reads_total",
        "Reads that shared another request's read of Postgres.",
        ["kind"]
    );
    dependency_duration: HistogramVec(
        "dependency_request_duration_seconds",
        "Time of one call to a dependency, all attempts included, in seconds.",
        ["dependency", "outcome"]
    );
    dependency_up: IntGaugeVec(
        "dependency_up",
        "Whether the dependency answered the prober last time (1) or not (0).",
        ["dependency"]
    );
    dependency_writable: IntGaugeVec(
        "dependency_writable",
        "Whether the dependency took writes last time (1) or refused them (0).",
        ["dependency"]
    );
    breaker_state: IntGaugeVec(
        "breaker_state",
        "State of the circuit breaker: 0 closed, 1 half-open, 2 open.",
        ["dependency"]
    );
    retries: IntCounterVec(
        "retries_total",
        "Further attempts by how they ended (succeeded, failed, not_sent), and those refused by the budget or the deadline.",
        ["dependency", "outcome"]
    );
    pool_connections: IntGaugeVec(
        "pool_connections",
        "Connections to a dependency: idle, in_use, and max, the most there may be.",
        ["dependency", "state"]
    );
    log_lines_dropped: IntCounter(
        "log_lines_dropped_total",
        "Lines of the access log that were dropped because standard output did not keep up.",
        []
    );
    build_info: GaugeVec("build_info", "Always 1; the labels tell what runs.", ["version", "instance"]);
}

impl Metrics {
    /// The Prometheus text format. If a name is given, every series has it as the label `instance`.
    ///
    /// # Errors
    /// A metric has no name: a defect of this file.
    pub fn encode(&self, instance: Option<&str>) -> prometheus::Result<Vec<u8>> {
        let mut families = self.registry.gather();
        if let Some(instance) = instance {
            families.iter_mut().flat_map(MetricFamily::mut_metric).for_each(|metric| name_replica(metric, instance));
        }
        let mut text = Vec::with_capacity(32 * 1024);
        TextEncoder::new().encode(&families, &mut text)?;
        Ok(text)
    }
}

fn name_replica(metric: &mut Metric, instance: &str) {
    const INSTANCE: &str = "instance";
    let mut labels = metric.take_label();
    if labels.iter().all(|label| label.name() != INSTANCE) {
        let mut label = LabelPair::default();
        label.set_name(INSTANCE.to_owned());
        label.set_value(instance.to_owned());
        labels.push(label);
    }
    metric.set_label(labels);
}

trait Declare: Sized {
    fn declare(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self>;
}

impl Declare for HistogramVec {
    fn declare(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec()), labels)
    }
}

impl Declare for IntCounterVec {
    fn declare(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Declare for IntGaugeVec {
    fn declare(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Declare for GaugeVec {
    fn declare(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(Opts::new(name, help), labels)
    }
}

impl Declare for IntCounter {
    fn declare(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(name, help)
    }
}

impl Declare for IntGauge {
    fn declare(name: &str, help: &str, _labels: &[&str]) -> prometheus::Result<Self> {
        Self::new(name, help)
    }
}
