//! The progress line on a terminal: updated with each step of the series.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use crate::plan::Plan;
use crate::report::Point;

const BAR: usize = 20;

#[derive(Debug)]
pub(super) struct Live {
    is_shown: bool,
    /// The number of this run, and of all runs.
    title: String,
    length: Option<Duration>,
    count: Option<u64>,
    sent: u64,
}

impl Live {
    /// `title` says which of several runs this is; empty for a single one.
    pub(super) fn new(plan: &Plan, title: String) -> Self {
        Self { is_shown: io::stderr().is_terminal(), title, length: plan.length(), count: plan.count(), sent: 0 }
    }

    pub(super) fn show(&mut self, point: &Point) {
        self.sent += point.sent;
        if self.is_shown {
            // Cut to the width of the terminal, because a line that wraps cannot be overwritten.
            let width =
                tcgetwinsize(io::stderr()).map_or(usize::MAX, |size| usize::from(size.ws_col).saturating_sub(1));
            let line: String = self.line(point).chars().take(width).collect();
            // A closed terminal does not end the run.
            let _gone = write!(io::stderr(), "\r\x1b[2K{line}");
        }
    }

    /// Clears the line.
    pub(super) fn clear(&self) {
        if self.is_shown {
            let _gone = write!(io::stderr(), "\r\x1b[2K");
        }
    }

    fn line(&self, point: &Point) -> String {
        let now = point.at_s + point.seconds;
        let by_time = self.length.map(|length| now / length.as_secs_f64());
        let by_count = self.count.map(|count| self.sent as f64 / count as f64);
        let done = by_time.into_iter().chain(by_count).fold(0.0_f64, f64::max).min(1.0);
        let full = (done * BAR as f64) as usize;
        let ms = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), short);
        let rate = |count: u64| format!("{:.0}/s", count as f64 / point.seconds);
        let answered: u64 = point.statuses.values().sum();
        let errors = answered - point.succeeded + point.errors.values().sum::<u64>();
        format!(
            "{}{now:>5.0} s {}{} {:>3.0} %  rate {}  good {}  p50 {}  p95 {}  p99 {}  errors {errors}  in flight {}{}",
            self.title,
            "█".repeat(full),
            "░".repeat(BAR - full),
            done * 100.0,
            rate(answered),
            rate(point.succeeded),
            ms(point.p50_ms),
            ms(point.p95_ms),
            ms(point.p99_ms),
            point.in_flight,
            if point.dropped > 0 { format!("  dropped {}", point.dropped) } else { String::new() },
        )
    }
}

/// A latency in a few characters.
fn short(ms: f64) -> String {
    match ms {
        _ if ms < 1.0 => format!("{:.0} µs", ms * 1_000.0),
        _ if ms < 100.0 => format!("{ms:.1} ms"),
        _ if ms < 10_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1_000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Report;

    #[test]
    fn one_line_says_how_far_and_how_well() {
        let report: Report = serde_json::from_str(include_str!("../../tests/recorded/open.json")).unwrap();
        let live =
            Live { is_shown: true, title: String::new(), length: Some(Duration::from_secs(12)), count: None, sent: 0 };
        let line = live.line(&report.series[2]);
        for part in [
            "    3 s",
            "█████░",
            "25 %",
            "rate 98/s",
            "good 40/s",
            "p50 6.8 ms",
            "p99 9.2 ms",
            "errors 58",
            "in flight 0",
        ] {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
        assert_eq!([short(0.25), short(5.44), short(320.4), short(12_000.0)], ["250 µs", "5.4 ms", "320 ms", "12.0 s"]);
    }
}
