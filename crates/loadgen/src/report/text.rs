//! The summary, for a terminal or a log. The words for rate and mean are those of `ab`, in which the notes that this
//! project grew from were written, so that both can be read side by side.

use std::fmt::Write as _;

use super::{LatencyStats, Mode, Outcome, Report, StatusCount, Verdict};

/// The width of the first column, as in `ab`.
const NAME: usize = 24;

pub(super) fn render(report: &Report) -> String {
    let mut page = Page(String::new());
    page.head(report);
    page.rates(report);
    page.latencies(report);
    page.shares(report);
    page.verdict(report);
    page.0
}

struct Page(String);

impl Page {
    fn line(&mut self, name: &str, value: &str) {
        // Writing into a String cannot fail.
        let _infallible = writeln!(self.0, "{name:<NAME$}{value}");
    }

    fn text(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn head(&mut self, report: &Report) {
        let plan = &report.plan;
        let loop_kind = match plan.mode {
            Mode::Closed => "Closed loop: each connection waits for its answer".to_owned(),
            Mode::Open => {
                format!(
                    "Open loop: {} arrivals, latency from the planned time",
                    plan.arrivals.unwrap_or_default().word()
                )
            }
        };
        self.text(&format!("{loop_kind}\n"));
        self.line("Target:", &plan.target);
        for (at, request) in plan.requests.iter().enumerate() {
            self.line(if at == 0 { "Requests:" } else { "" }, request);
        }
        if !report.repeats.is_empty() {
            let (n, rate) = (report.repeats.len(), report.summary.requests_per_second);
            self.line("Repeats:", &format!("{n}; below is the one with the median rate, {rate:.2} per second"));
        }
        self.text("");
    }

    fn rates(&mut self, report: &Report) {
        let (plan, summary) = (&report.plan, &report.summary);
        self.line(
            "Concurrency Level:",
            &format!("{}{}", plan.connections, if plan.mode == Mode::Open { " at most" } else { "" }),
        );
        self.line("Time taken for tests:", &format!("{:.3} seconds", summary.elapsed_s));
        if plan.mode == Mode::Open {
            let Some((target, sent)) = summary.target_rate.zip(summary.sent_rate) else {
                return;
            };
            self.line("Planned requests:", &format!("{} ({target:.2} per second)", summary.planned));
            self.line("Sent:", &format!("{} ({sent:.2} per second), {} of them late", summary.sent, summary.late));
            self.line("Dropped:", &summary.dropped.to_string());
        }
        self.line("Complete requests:", &summary.answered.to_string());
        self.line("Failed requests:", &summary.errors.to_string());
        for StatusCount { status, code, count } in report.statuses.iter().filter(|status| status.status >= 400) {
            self.line("", format!("{count} × {status} {}", code.as_deref().unwrap_or_default()).trim_end());
        }
        for error in &report.errors {
            self.line("", &format!("{} × {} ({})", error.count, error.class.word(), error.example));
        }
        if summary.in_flight_at_end > 0 {
            self.line("In flight at the end:", &summary.in_flight_at_end.to_string());
        }
        if summary.retries > 0 {
            self.line("Retries:", &summary.retries.to_string());
        }
        self.line("Success:", &format!("{:.3} %", summary.success_ratio * 100.0));
        self.line("Requests per second:", &format!("{:.2} [#/sec] (mean)", summary.requests_per_second));
        self.line("Goodput per second:", &format!("{:.2} [#/sec] (mean)", summary.goodput_per_second));
        if let Some(mean) = summary.mean_ms {
            self.line("Time per request:", &format!("{mean:.3} [ms] (mean)"));
        }
        if plan.mode == Mode::Closed && summary.answered > 0 {
            let across = summary.elapsed_s * 1_000.0 / summary.answered as f64;
            self.line("Time per request:", &format!("{across:.3} [ms] (mean, across all concurrent requests)"));
        }
        let rate = report.bytes.received as f64 / 1_024.0 / summary.elapsed_s.max(1e-9);
        self.line("Transfer rate:", &format!("{rate:.2} [Kbytes/sec] received"));
        let opened = report.connections.opened;
        self.line(
            "Connections:",
            &format!("{opened} opened, {} closed by the server while idle", report.connections.closed_idle),
        );
        self.text("");
    }

    fn latencies(&mut self, report: &Report) {
        let table = &report.latency;
        let Some(all) = &table.all else { return };
        let heads = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let heads: String = heads.iter().map(|head| format!("{head:>10}")).collect();
        self.line("Latency [ms]", &heads);
        self.row("  all", all);
        // With no failures the successes are all, and the row would say the same twice.
        if let (Some(succeeded), Some(failed)) = (&table.succeeded, &table.failed) {
            self.row("  succeeded", succeeded);
            self.row("  failed", failed);
        }
        if let Some(service) = &table.service {
            self.row("  service time", service);
        }
        self.text("");
    }

    fn row(&mut self, name: &str, stats: &LatencyStats) {
        let LatencyStats { mean_ms, p50_ms, p90_ms, p95_ms, p99_ms, p99_9_ms, max_ms, .. } = stats;
        let values = [mean_ms, p50_ms, p90_ms, p95_ms, p99_ms, p99_9_ms, max_ms];
        let values: String = values.iter().map(|value| format!("{value:>10.3}")).collect();
        self.line(name, &values);
    }

    fn shares(&mut self, report: &Report) {
        let statuses = report.statuses.iter().fold(Vec::<(String, u64)>::new(), |mut sums, status| {
            match sums.last_mut().filter(|(known, _)| *known == status.status.to_string()) {
                Some((_, sum)) => *sum += status.count,
                None => sums.push((status.status.to_string(), status.count)),
            }
            sums
        });
        self.share("Statuses:", statuses);
        self.share("Answered by:", report.instances.clone());
        self.share("Cache:", report.cache.clone());
        let generator = &report.generator;
        let mut own = format!("{:.1} % of a core", generator.cpu_share * 100.0);
        if let Some(waiting) = generator.waiting_share {
            let _infallible = write!(own, ", waiting for one {:.1} %", waiting * 100.0);
        }
        if let Some(lag) = generator.lag_p99_ms {
            let _infallible = write!(own, "; sent {lag:.3} ms late at p99");
        }
        self.line("Generator:", &own);
    }

    fn share(&mut self, name: &str, counts: impl IntoIterator<Item = (String, u64)>) {
        let counts: Vec<_> = counts.into_iter().collect();
        let total: u64 = counts.iter().map(|(_, count)| count).sum();
        let part = |count: u64| count as f64 * 100.0 / total.max(1) as f64;
        let words: Vec<_> =
            counts.iter().map(|(word, count)| format!("{word} {count} ({:.1} %)", part(*count))).collect();
        if !words.is_empty() {
            self.line(name, &words.join(", "));
        }
    }

    fn verdict(&mut self, report: &Report) {
        let Verdict { outcome, invalid, notes, conditions } = &report.verdict;
        for note in notes {
            self.line("Note:", note);
        }
        for condition in conditions {
            let word = if condition.failed { "FAILED" } else { "passed" };
            self.line("Condition:", &format!("{word}: fail if {}, measured {}", condition.fail_if, condition.measured));
        }
        for reason in invalid {
            self.line("Invalid:", reason);
        }
        if *outcome != Outcome::Held || !conditions.is_empty() {
            self.line("Verdict:", outcome.word());
        }
    }
}

impl Outcome {
    /// The word for it in tables and pages.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Deviated => "deviated",
            Self::Invalid => "invalid",
            Self::Interrupted => "interrupted",
        }
    }
}
