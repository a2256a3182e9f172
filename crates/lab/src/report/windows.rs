//! Before, during and after: the figures of every window of an arm.

use std::collections::BTreeMap;

use super::words;
use crate::{
    experiment::{AFTER, BEFORE, DURING, WHOLE},
    journal::ArmRun,
};

/// The limit of kinds of failures in a cell.
const MOST_FAILURES: usize = 4;
/// The limit of windows. A run with many incidents has a window for each; the others are in the hypotheses about them.
const MOST_WINDOWS: usize = 16;

pub(super) const HEAD: [&str; 9] = ["window", "time", "requests", "good", "failed", "good per s", "p50", "p95", "p99"];

/// One line of the table.
pub(super) struct Row {
    pub(super) window: String,
    /// The columns of [`HEAD`] after the name.
    pub(super) cells: [String; 8],
    /// `503 database_timeout 12, timeout 3`
    pub(super) failures: String,
}

/// A line for each window of the arm that was reached and has requests.
pub(super) fn rows(arm: &ArmRun<'_>) -> Vec<Row> {
    let own = arm.arm.windows.iter().map(|window| window.name.as_str());
    let names: Vec<&str> = [WHOLE, BEFORE, DURING, AFTER].into_iter().chain(own).collect();
    let mut rows = Vec::new();
    for name in names {
        if rows.len() < MOST_WINDOWS && !rows.iter().any(|row: &Row| row.window == name) {
            rows.extend(row(arm, name));
        }
    }
    rows
}

fn row(arm: &ArmRun<'_>, name: &str) -> Option<Row> {
    let (report, _) = arm.load?;
    let (from, to) = arm.window(name).ok()?;
    let window = report.window(from, to)?;
    let summary = window.summary();
    if summary.planned == 0 {
        return None;
    }
    let failed = summary.planned - summary.succeeded.min(summary.planned);
    let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| words::value(value, "ms"));
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for status in window.statuses() {
        let good = report.plan.success.contains(status.status);
        if !good {
            let code = status.code.map_or_else(String::new, |code| format!(" {code}"));
            *ends.entry(format!("{}{code}", status.status)).or_default() += status.count;
        }
    }
    for (class, count) in window.errors() {
        *ends.entry(class.replace('_', " ")).or_default() += count;
    }
    if summary.dropped > 0 {
        ends.insert("not sent".to_owned(), summary.dropped);
    }
    let other = failed.saturating_sub(ends.values().sum());
    if other > 0 {
        ends.insert("wrong content or still open".to_owned(), other);
    }
    let mut ends: Vec<(String, u64)> = ends.into_iter().collect();
    ends.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let left_out: u64 = ends.iter().skip(MOST_FAILURES).map(|(_, count)| count).sum();
    ends.truncate(MOST_FAILURES);
    let mut failures: Vec<String> =
        ends.iter().map(|(end, count)| format!("{end} × {}", words::count(*count))).collect();
    if left_out > 0 {
        failures.push(format!("others × {}", words::count(left_out)));
    }
    Some(Row {
        window: name.to_owned(),
        cells: [
            format!("{} to {}", words::at(from).trim_end_matches(" s"), words::at(to)),
            words::count(summary.planned),
            format!("{} %", share(summary.succeeded, summary.planned)),
            words::count(failed),
            words::value(summary.succeeded as f64 / window.seconds.max(1e-9), ""),
            ms(summary.p50_ms),
            ms(summary.p95_ms),
            ms(summary.p99_ms),
        ],
        failures: failures.join(", "),
    })
}

/// In %, never rounded up to 100.
pub(super) fn share(part: u64, whole: u64) -> String {
    let percent = part as f64 * 100.0 / whole.max(1) as f64;
    let text = words::trimmed(percent, if percent > 99.0 { 3 } else { 1 });
    if part < whole && text == "100" { "99.999".to_owned() } else { text }
}
