//! `lab up --observe`: the distribution's Prometheus over the real stack, an alert from its first second to its end.
//!
//! Where Prometheus is not installed the same command has to say so and run the stack, and that is what is tested there.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use crate::support::{PATIENCE, Place};

struct Prometheus(String);

impl Prometheus {
    fn ask(&self, path: &str) -> serde_json::Value {
        let answer = stack::get(&format!("{}{path}", self.0), Duration::from_secs(5)).expect("Prometheus answers");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    }

    /// The series of an instant query, as the text of their labels and value.
    fn query(&self, query: &str) -> Vec<serde_json::Value> {
        let encoded: String = query
            .bytes()
            .map(
                |byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") },
            )
            .collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"));
        answer["data"]["result"].as_array().unwrap().clone()
    }

    /// Waits until a query has so many series.
    fn wait_for(&self, query: &str, series: usize) {
        let end = Instant::now() + PATIENCE;
        while self.query(query).len() != series {
            assert!(Instant::now() < end, "{query} has no {series} series: {:?}", self.query(query));
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn is_installed() -> bool {
    ["/usr/bin/prometheus", "/usr/local/bin/prometheus", "/usr/sbin/prometheus"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn a_stopped_postgres_is_an_alert_pending_then_firing_then_resolved() {
    let place = Place::new();
    let outcome = place.lab(&["up", "--detach", "--port", "0", "--observe"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let status = place.status();
    if !is_installed() {
        assert!(outcome.stderr.contains("Prometheus is not installed"), "{outcome:?}");
        assert!(status.observability.is_empty() && status.replicas.len() == 3, "{status:?}");
        return;
    }
    let prometheus = Prometheus(status.observability["prometheus"].clone());
    let alert =
        |state: &str| format!("ALERTS{{alertname=\"DependencyDown\",dependency=\"postgres\",alertstate=\"{state}\"}}");

    // Every replica under its own name, and every job.
    prometheus.wait_for("sum by (instance) (rate(http_requests_total[30s]))", 3);
    prometheus.wait_for("up{job=\"api\",instance=~\"api-[123]\"} == 1", 3);
    let jobs = 1 + status.observability.len();
    prometheus.wait_for("count by (job) (up == 1)", jobs);
    // What there was while it looked for the replicas is over.
    prometheus.wait_for("ALERTS", 0);

    place.ok(&["fault", "stop", "postgres"]);
    prometheus.wait_for(&alert("pending"), 1);
    prometheus.wait_for(&alert("firing"), 1);
    place.ok(&["heal"]);
    prometheus.wait_for(&alert("firing"), 0);
    // It went through all three, in this order, and is over.
    let seen = prometheus.query(&format!("count_over_time({}[5m])", alert("pending")));
    assert_eq!(seen.len(), 1, "it was pending before it fired");

    // A new replica is found, one that is gone is forgotten.
    place.ok(&["scale", "4"]);
    prometheus.wait_for("up{job=\"api\",instance=\"api-4\"} == 1", 1);
    place.ok(&["scale", "2"]);
    prometheus.wait_for("up{job=\"api\"}", 2);

    place.ok(&["down"]);
    assert!(stack::get(&prometheus.0, Duration::from_secs(1)).is_err(), "Prometheus went with the stack");
}
