//! The summary, for a terminal or a log. Rate and mean have the same names as in `ab`, so that the results can be
//! compared with those in the notes that this project grew from.

use std::fmt::Write as _;

use super::{LatencyStats, Mode, Outcome, RepeatRecord, Report, StatusCount, Verdict};

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
        // Writing to a String cannot fail.
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
            self.line("", &format!("outcomes: {}", outcomes(&report.repeats)));
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
        for StatusCount { status, code, count } in
            report.statuses.iter().filter(|status| status.status >= 400 || status.code.is_some())
        {
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
        let connections = &report.connections;
        let mut text =
            format!("{} opened, {} closed by the server while idle", connections.opened, connections.closed_idle);
        if connections.resent > 0 {
            text += &format!(", {} requests therefore sent again", connections.resent);
        }
        self.line("Connections:", &text);
        self.text("");
    }

    fn latencies(&mut self, report: &Report) {
        let table = &report.latency;
        if table.all.is_none() {
            return;
        }
        let heads = ["mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let heads: String = heads.iter().map(|head| format!("{head:>10}")).collect();
        self.line("Latency [ms]", &heads);
        let mut rows =
            vec![("good".to_owned(), &table.good), ("bad".to_owned(), &table.bad), ("all".to_owned(), &table.all)];
        // Without failures, the row would repeat the row of all requests.
        if table.good.is_none() || table.bad.is_none() {
            rows.pop();
        }
        rows.push(("service time of all".to_owned(), &table.service));
        if report.kinds.len() > 1 {
            rows.extend(report.kinds.iter().map(|kind| (format!("good {}", kind.name), &kind.good)));
        }
        let rows: Vec<(String, &LatencyStats)> =
            rows.into_iter().filter_map(|(name, stats)| Some((name, stats.as_ref()?))).collect();
        for (name, stats) in &rows {
            self.row(name, stats);
        }
        if rows.iter().any(|(_, stats)| !stats.too_few_for.is_empty()) {
            self.text("  * fewer than ten requests lie beyond it: a matter of chance");
        }
        self.text("");
    }

    fn row(&mut self, name: &str, stats: &LatencyStats) {
        let LatencyStats { mean_ms, p50_ms, p90_ms, p95_ms, p99_ms, p99_9_ms, max_ms, too_few_for, .. } = stats;
        let percentiles = [("p50", p50_ms), ("p90", p90_ms), ("p95", p95_ms), ("p99", p99_ms), ("p99.9", p99_9_ms)];
        let mut values = format!("{mean_ms:>10.3}");
        for (name, value) in percentiles {
            let mark = if too_few_for.iter().any(|few| few == name) { "*" } else { "" };
            let _infallible = write!(values, "{:>10}", format!("{value:.3}{mark}"));
        }
        let _infallible = write!(values, "{max_ms:>10.3}");
        let name = format!("  {name}");
        if name.chars().count() >= NAME {
            self.text(&name);
            self.line("", &values);
        } else {
            self.line(&name, &values);
        }
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
        let mut own = Vec::new();
        if let Some(thread) = generator.busiest() {
            let waiting = thread.waiting_share.map(|share| format!(", waiting for one {:.1} %", share * 100.0));
            own.push(format!("{:.1} % of a core{}", thread.cpu_share * 100.0, waiting.unwrap_or_default()));
        }
        if let (Some(p99), Some(max)) = (generator.lag_p99_ms, generator.lag_max_ms) {
            own.push(format!("sent {p99:.3} ms late at p99, {max:.3} ms at most"));
        }
        self.line("Generator:", &own.join("; "));
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
            let run = condition.run.map(|run| format!(" in run {run}, the worst")).unwrap_or_default();
            self.line(
                "Condition:",
                &format!("{word}: fail if {}, measured {}{run}", condition.fail_if, condition.measured),
            );
        }
        for reason in invalid {
            self.line("Invalid:", reason);
        }
        if *outcome != Outcome::Held || !conditions.is_empty() {
            self.line("Verdict:", outcome.word());
        }
    }
}

/// The number of runs by verdict.
fn outcomes(runs: &[RepeatRecord]) -> String {
    let all = [Outcome::Held, Outcome::Deviated, Outcome::Invalid, Outcome::Interrupted];
    let counted = all.into_iter().filter_map(|outcome| {
        let count = runs.iter().filter(|run| run.outcome == outcome).count();
        (count > 0).then(|| format!("{count} {}", outcome.word()))
    });
    counted.collect::<Vec<_>>().join(", ")
}

impl Outcome {
    /// The word used in tables and pages.
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
