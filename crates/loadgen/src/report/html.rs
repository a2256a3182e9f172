//! The page: one file that needs no network, in light and dark colours, with the verdict at the top.
//!
//! Everything is drawn here, from the recorded report; the script only shows the values under the pointer.
//!
//! - [`figures`]: the plots; they are drawn by [`crate::charts`]

mod figures;

use std::fmt::Write as _;

use crate::charts::{self, escape};

use super::{LatencyStats, Mode, Outcome, RepeatRecord, Report};

pub(super) fn render(report: &Report) -> String {
    let mut page = Page(String::with_capacity(64 * 1024));
    let title = format!("load run: {}", report.plan.target);
    page.push("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    page.push("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    page.push(&format!(
        "<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n<main>\n",
        escape(&title),
        charts::STYLE
    ));
    page.header(report);
    page.tiles(report);
    page.push(&figures::all(report));
    page.tables(report);
    page.push(&format!("</main>\n<script>\n{}</script>\n</body>\n</html>\n", charts::SCRIPT));
    page.0
}

struct Page(String);

impl Page {
    fn push(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn header(&mut self, report: &Report) {
        let verdict = &report.verdict;
        let (word, meaning) = match verdict.outcome {
            Outcome::Held if verdict.conditions.is_empty() => ("complete", "No condition was set."),
            Outcome::Held => ("held", "No condition failed."),
            Outcome::Deviated => ("deviated", "A condition failed."),
            Outcome::Invalid => ("invalid", "The numbers say nothing about the server."),
            Outcome::Interrupted => ("interrupted", "Ended before its plan was."),
        };
        let plan = &report.plan;
        let how = match plan.mode {
            Mode::Closed => format!("Closed loop over {} connections", plan.connections),
            Mode::Open => format!(
                "Open loop with {} arrivals, {} connections at most",
                plan.arrivals.unwrap_or_default().word(),
                plan.connections
            ),
        };
        self.push("<header>\n");
        self.push(&format!("<p class=\"verdict {word}\"><b>{word}</b><span>{meaning}</span></p>\n"));
        self.push(&format!("<h1>{}</h1>\n", escape(&plan.target)));
        let started = report.started_unix_ms;
        self.push(&format!(
            "<p class=\"sub\">{how}, {} seconds, <time data-unix-ms=\"{started}\"></time></p>\n",
            number(report.summary.elapsed_s, 3)
        ));
        if !report.command.is_empty() {
            self.push(&format!("<pre class=\"command\">{}</pre>\n", escape(&report.command)));
        }
        let mut list = String::new();
        for reason in &verdict.invalid {
            let _infallible = writeln!(list, "<li class=\"bad\">{}</li>", escape(reason));
        }
        for condition in &verdict.conditions {
            let class = if condition.failed { "bad" } else { "good" };
            let (rule, measured) = (escape(&condition.fail_if), escape(&condition.measured));
            let word = if condition.failed { "failed" } else { "passed" };
            let run = condition.run.map(|run| format!(" in run {run}, the worst")).unwrap_or_default();
            let _infallible = writeln!(
                list,
                "<li class=\"{class}\">{word}: fail if <code>{rule}</code>, measured {measured}{run}</li>"
            );
        }
        for note in &verdict.notes {
            let _infallible = writeln!(list, "<li>{}</li>", escape(note));
        }
        if !list.is_empty() {
            self.push(&format!("<ul class=\"notes\">\n{list}</ul>\n"));
        }
        self.push("</header>\n");
    }

    fn tiles(&mut self, report: &Report) {
        let summary = &report.summary;
        let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), latency);
        let mut tiles = vec![
            ("Requests per second", number(summary.requests_per_second, 2), "mean".to_owned()),
            ("Time per request", ms(summary.mean_ms), "mean of good answers".to_owned()),
            ("p50", ms(summary.p50_ms), "of good answers".to_owned()),
            ("p95", ms(summary.p95_ms), "of good answers".to_owned()),
            ("p99", ms(summary.p99_ms), format!("max {}", ms(summary.max_ms))),
            (
                "Success",
                format!("{} %", number(summary.success_ratio * 100.0, 3)),
                format!("{} of {}", summary.succeeded, summary.planned),
            ),
        ];
        if let Some(target) = summary.target_rate {
            tiles[0].2 = format!("planned {}", number(target, 2));
        }
        self.push("<section class=\"tiles\">\n");
        for (name, value, below) in tiles {
            self.push(&format!("<div><span>{name}</span><b>{value}</b><small>{below}</small></div>\n"));
        }
        self.push("</section>\n");
    }

    fn tables(&mut self, report: &Report) {
        self.push("<section class=\"tables\">\n");
        let table = &report.latency;
        let kinds =
            [("good", &table.good), ("bad", &table.bad), ("all", &table.all), ("service time of all", &table.service)];
        let by_kind = report.kinds.iter().filter(|_| report.kinds.len() > 1);
        let kinds = kinds.into_iter().chain(by_kind.map(|kind| (kind.name.as_str(), &kind.good)));
        let row = |(name, stats): (&str, &Option<LatencyStats>)| {
            let stats = stats.as_ref()?;
            let values = [
                ("mean", stats.mean_ms),
                ("p50", stats.p50_ms),
                ("p90", stats.p90_ms),
                ("p95", stats.p95_ms),
                ("p99", stats.p99_ms),
                ("p99.9", stats.p99_9_ms),
                ("max", stats.max_ms),
            ];
            let few = |name: &str| if stats.too_few_for.iter().any(|few| few == name) { " *" } else { "" };
            let cells = values.into_iter().map(|(name, value)| format!("{value:.3}{}", few(name)));
            Some([name.to_owned(), stats.count.to_string()].into_iter().chain(cells).collect())
        };
        let head = ["", "count", "mean", "p50", "p90", "p95", "p99", "p99.9", "max"];
        let title = "Latency in milliseconds (* fewer than ten requests lie beyond it)";
        self.table(title, &head, kinds.filter_map(row).collect());
        self.ends(report);
        self.totals(report);
        self.generator(report);
        self.repeats(report);
        self.push("</section>\n");
    }

    fn ends(&mut self, report: &Report) {
        let share = |count: u64| format!("{} %", number(count as f64 * 100.0 / report.summary.sent.max(1) as f64, 2));
        let statuses = report.statuses.iter().map(|status| {
            vec![
                status.status.to_string(),
                status.code.clone().unwrap_or_default(),
                status.count.to_string(),
                share(status.count),
            ]
        });
        let errors = report.errors.iter().map(|error| {
            vec![error.class.word().to_owned(), error.example.clone(), error.count.to_string(), share(error.count)]
        });
        self.table(
            "How requests ended",
            &["status or error", "code or cause", "count", "share"],
            statuses.chain(errors).collect(),
        );
        for (title, counts) in [("Which replica answered", &report.instances), ("What the cache did", &report.cache)] {
            let total: u64 = counts.values().sum();
            let part = |count: u64| format!("{} %", number(count as f64 * 100.0 / total.max(1) as f64, 2));
            let rows = counts.iter().map(|(name, count)| vec![name.clone(), count.to_string(), part(*count)]);
            self.table(title, &["", "answers", "share"], rows.collect());
        }
    }

    fn totals(&mut self, report: &Report) {
        let summary = &report.summary;
        let totals = [
            ("planned", summary.planned),
            ("dropped (every connection was busy)", summary.dropped),
            ("sent", summary.sent),
            ("of these late by more than 1 ms", summary.late),
            ("and by more than 1 % of their latency", summary.distorted),
            ("answered", summary.answered),
            ("of these successful", summary.succeeded),
            ("without an answer", summary.unanswered),
            ("in flight at the end", summary.in_flight_at_end),
            ("retries on top", summary.retries),
            ("connections opened", report.connections.opened),
            ("connections closed by the server while idle", report.connections.closed_idle),
            ("requests sent again on a new connection", report.connections.resent),
            ("bytes sent", report.bytes.sent),
            ("bytes received", report.bytes.received),
        ];
        let row = |(name, count): (&str, u64)| vec![name.to_owned(), count.to_string()];
        self.table("Totals", &["", "count"], totals.into_iter().map(row).collect());
    }

    fn generator(&mut self, report: &Report) {
        let generator = &report.generator;
        let percent = |share: f64| format!("{} %", number(share * 100.0, 1));
        let mut own = Vec::new();
        for (at, thread) in generator.threads.iter().enumerate() {
            own.push(vec![format!("CPU of thread {}", at + 1), percent(thread.cpu_share)]);
            let waiting = thread.waiting_share.map_or_else(|| "not counted by the kernel".to_owned(), percent);
            own.push(vec!["time it waited for a core".to_owned(), waiting]);
        }
        own.extend(generator.lag_p99_ms.map(|lag| vec!["sent later than planned, p99".to_owned(), latency(lag)]));
        own.extend(generator.lag_max_ms.map(|lag| vec!["sent later than planned, at most".to_owned(), latency(lag)]));
        if generator.stalls.count > 0 {
            own.push(vec!["stood still in all".to_owned(), latency(generator.stalls.total_s * 1_000.0)]);
        }
        let machine = &report.machine;
        for (name, value) in [("host", &machine.host), ("CPU", &machine.cpu), ("kernel", &machine.kernel)] {
            own.push(vec![name.to_owned(), value.clone()]);
        }
        self.table("The generator itself", &["", "share"], own);
    }

    fn repeats(&mut self, report: &Report) {
        if !report.repeats.is_empty() {
            let ms = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
            let row = |(at, RepeatRecord { outcome, summary: run, .. }): (usize, &RepeatRecord)| {
                let numbers = [run.requests_per_second, run.goodput_per_second, run.success_ratio * 100.0];
                let cells = numbers.into_iter().map(|value| number(value, 2));
                let latencies = [run.mean_ms, run.p50_ms, run.p95_ms, run.p99_ms].map(ms);
                [(at + 1).to_string(), outcome.word().to_owned()].into_iter().chain(cells).chain(latencies).collect()
            };
            let head = ["run", "outcome", "requests/s", "goodput/s", "success %", "mean", "p50", "p95", "p99"];
            self.table(
                "All runs; the median one is shown above",
                &head,
                report.repeats.iter().enumerate().map(row).collect(),
            );
        }
    }

    fn table(&mut self, title: &str, head: &[&str], rows: Vec<Vec<String>>) {
        if rows.is_empty() {
            return;
        }
        self.push(&format!("<div class=\"table columns-{}\"><h2>{title}</h2>\n<table>\n<tr>", head.len()));
        for cell in head {
            self.push(&format!("<th>{cell}</th>"));
        }
        self.push("</tr>\n");
        for row in rows {
            let cells: String = row.iter().map(|cell| format!("<td>{}</td>", escape(cell))).collect();
            self.push(&format!("<tr>{cells}</tr>\n"));
        }
        self.push("</table></div>\n");
    }
}

/// With this number of digits, without trailing zeros.
fn number(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A latency with a suitable unit.
fn latency(ms: f64) -> String {
    match ms {
        _ if ms == 0.0 => "0".to_owned(),
        _ if ms < 1.0 => format!("{} µs", number(ms * 1_000.0, 0)),
        _ if ms < 10.0 => format!("{} ms", number(ms, 2)),
        _ if ms < 1_000.0 => format!("{} ms", number(ms, 1)),
        _ => format!("{} s", number(ms / 1_000.0, 2)),
    }
}
