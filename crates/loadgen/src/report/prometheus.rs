//! The result in Prometheus text format, for the textfile collector of the node exporter or a push gateway, so that
//! runs in CI have a history.

use std::fmt::Write as _;

use super::{LatencyStats, Outcome, Report};

pub(super) fn render(report: &Report) -> String {
    let mut text = Text(String::new());
    let summary = &report.summary;
    for (name, help, value) in [
        ("load_requests_per_second", "Answers of any status per second", summary.requests_per_second),
        ("load_goodput_per_second", "Successful answers per second", summary.goodput_per_second),
        ("load_success_ratio", "Successes among all planned requests that ended", summary.success_ratio),
        ("load_requests_planned", "Requests that the plan asked for", summary.planned as f64),
        ("load_requests_sent", "Requests that were sent", summary.sent as f64),
        ("load_requests_dropped", "Requests that were due while all connections were busy", summary.dropped as f64),
        ("load_requests_late", "Requests sent more than 1 ms after their time", summary.late as f64),
        ("load_elapsed_seconds", "Length of the run", summary.elapsed_s),
        ("load_start_time_seconds", "Unix time of the end of the warm-up", report.started_unix_ms as f64 / 1_000.0),
    ] {
        text.metric(name, help);
        text.sample(name, &[], value);
    }
    text.latencies(report);
    text.metric("load_answers", "Answers by status and problem code");
    for status in &report.statuses {
        let code = status.code.as_deref().unwrap_or_default();
        text.sample("load_answers", &[("status", &status.status.to_string()), ("code", code)], status.count as f64);
    }
    text.metric("load_unanswered", "Requests without an answer by class");
    for error in &report.errors {
        text.sample("load_unanswered", &[("class", error.class.word())], error.count as f64);
    }
    text.metric("load_outcome", "How the run is judged: 1 for the outcome it had");
    for outcome in [Outcome::Held, Outcome::Deviated, Outcome::Invalid, Outcome::Interrupted] {
        let value = f64::from(u8::from(outcome == report.verdict.outcome));
        text.sample("load_outcome", &[("outcome", outcome.word())], value);
    }
    text.0
}

struct Text(String);

impl Text {
    fn metric(&mut self, name: &str, help: &str) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} gauge");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _infallible = writeln!(self.0, "{name}{labels} {value}");
    }

    fn latencies(&mut self, report: &Report) {
        const NAME: &str = "load_latency_seconds";
        self.metric(NAME, "Latency from the planned send time by end, kind of request and quantile");
        let table = &report.latency;
        let all = [("good", "", &table.good), ("bad", "", &table.bad)];
        let by_kind = report.kinds.iter().filter(|_| report.kinds.len() > 1);
        let by_kind = by_kind.map(|kind| ("good", kind.name.as_str(), &kind.good));
        for (end, kind, stats) in all.into_iter().chain(by_kind) {
            let Some(stats) = stats else { continue };
            let LatencyStats { p50_ms, p90_ms, p95_ms, p99_ms, p99_9_ms, max_ms, .. } = stats;
            let quantiles = [
                ("0.5", p50_ms),
                ("0.9", p90_ms),
                ("0.95", p95_ms),
                ("0.99", p99_ms),
                ("0.999", p99_9_ms),
                ("1", max_ms),
            ];
            for (quantile, ms) in quantiles {
                self.sample(NAME, &[("end", end), ("kind", kind), ("quantile", quantile)], ms / 1_000.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_comment_or_a_sample() {
        let mut report: Report = serde_json::from_str(include_str!("../../tests/recorded/open.json")).unwrap();
        report.statuses[0].code = Some("a \"b\"\n".to_owned());
        let text = report.to_prometheus();
        for line in text.lines() {
            let is_sample = line.rsplit_once(' ').is_some_and(|(_, value)| value.parse::<f64>().is_ok());
            assert!(line.starts_with("# ") || is_sample, "{line}");
        }
        assert!(text.contains(r#"load_answers{status="200",code="a \"b\"\n"}"#), "{text}");
        assert!(text.contains(r#"load_latency_seconds{end="good",kind="",quantile="0.95"}"#), "{text}");
        assert!(text.contains("load_outcome{outcome=\"interrupted\"} 0"), "{text}");
    }
}
