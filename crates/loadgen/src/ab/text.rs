//! The paired comparison as tables and sentences.

use std::fmt::Write as _;

use super::{Analysis, Record, Row, Verdict};
use crate::compare::finding::{ALPHA, Finding};
use crate::compare::text::{NAME, show_p, show_points, show_share};

const SIDE: usize = 26;
const INTERVAL: usize = 20;

pub(super) fn render(record: &Record, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _infallible = writeln!(text, "A: {}\nB: {}\n", record.a.name, record.b.name);
    let rounds = record.rounds.len();
    table(&mut text, &format!("B against A, {rounds} rounds"), &verdict.analysis);
    match &verdict.control {
        Some(control) => {
            table(&mut text, &format!("A against A, {} rounds", record.control.len()), control);
            let called = control.rows.iter().filter(|row| is_called(row.finding)).count();
            let _infallible = writeln!(
                text,
                "A against itself: {}; equal sides differ by chance in at most {:.0} % of comparisons.",
                if called == 0 { "no difference, as it should be" } else { "a difference" },
                ALPHA * 100.0
            );
        }
        None => text.push_str("A was not measured against itself (--no-control).\n"),
    }
    for reason in &verdict.invalid {
        let _infallible = writeln!(text, "Invalid: {reason}");
    }
    if verdict.invalid.is_empty() {
        let _infallible = writeln!(text, "Speed: {}", sentence(verdict.analysis.speed()));
        let _infallible = writeln!(text, "Failures: {}", sentence(verdict.analysis.failures.finding));
    }
    text
}

fn is_called(finding: Finding) -> bool {
    finding != Finding::Same && finding != Finding::Unjudged
}

fn table(text: &mut String, title: &str, analysis: &Analysis) {
    let _infallible = writeln!(
        text,
        "{title}\n{:NAME$}{:>SIDE$}{:>SIDE$}{:>9}{:>INTERVAL$}{:>9}",
        "median (min … max)", "A", "B", "ratio", "95 % interval", "p"
    );
    for row in &analysis.rows {
        let Row { name, a, b, ratio, interval: (low, high), p, finding } = row;
        let show = |spread: &crate::stats::Spread| {
            let digits = if spread.max >= 1_000.0 { 0 } else { 3 };
            format!("{:.digits$} ({:.digits$} … {:.digits$})", spread.median, spread.min, spread.max)
        };
        let interval = if low.is_finite() && high.is_finite() {
            format!("{low:.3} … {high:.3}")
        } else {
            "too few rounds".into()
        };
        let _infallible = writeln!(
            text,
            "{name:NAME$}{:>SIDE$}{:>SIDE$}{ratio:>9.3}{interval:>INTERVAL$}{:>9}  {}",
            show(a),
            show(b),
            show_p(*p),
            finding.word()
        );
    }
    let failures = &analysis.failures;
    let _infallible = writeln!(
        text,
        "{:NAME$}{:>SIDE$}{:>SIDE$}  {}  {}\n",
        "Failed",
        show_share(failures.base),
        show_share(failures.new),
        show_points(failures),
        failures.finding.word()
    );
}

fn sentence(finding: Finding) -> &'static str {
    match finding {
        Finding::Better => "B is better.",
        Finding::Worse => "B is worse.",
        Finding::Mixed => "B is better in one respect and worse in another.",
        Finding::Same => "no significant difference.",
        Finding::Unjudged => {
            "not judged: too few rounds or answers; 8 rounds are the least, 10 a good number (--rounds)."
        }
    }
}
