//! The comparison as a table and a few sentences.

use std::fmt::Write as _;

use super::{Comparison, Failures, Finding, Row};
use crate::stats::{Share, Spread};

pub(crate) const NAME: usize = 22;
const SIDE: usize = 34;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    let (base, new) = comparison.runs;
    let plural = |runs: usize| if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    let (base_head, new_head) = (format!("base ({})", plural(base)), format!("new ({})", plural(new)));
    // Writing to a String cannot fail.
    let _infallible =
        writeln!(text, "{:NAME$}{base_head:>SIDE$}{new_head:>SIDE$}{:>9}{:>9}", "median (min … max)", "ratio", "p");
    for row in comparison.throughput.iter().chain(&comparison.latency) {
        let Row { name, base, new, ratio, p, finding } = row;
        let p = if *finding == Finding::Unjudged { "–".to_owned() } else { show_p(*p) };
        let (base, new) = (show(base), show(new));
        let _infallible = writeln!(text, "{name:NAME$}{base:>SIDE$}{new:>SIDE$}{ratio:>9.3}{p:>9}  {}", finding.word());
    }
    let Failures { base, new, finding, .. } = &comparison.failures;
    let (base, new) = (show_share(*base), show_share(*new));
    let points = show_points(&comparison.failures);
    let _infallible = writeln!(text, "{:NAME$}{base:>SIDE$}{new:>SIDE$}  {points}  {}\n", "Failed", finding.word());
    for refusal in &comparison.refusals {
        let _infallible = writeln!(text, "Not comparable: {refusal}");
    }
    for warning in &comparison.warnings {
        let _infallible = writeln!(text, "Note: {warning}");
    }
    for (group, finding) in comparison.findings() {
        let _infallible = writeln!(text, "{group}: {}", sentence(finding, !comparison.refusals.is_empty()));
    }
    text
}

fn show(spread: &Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max { format!("{median:.3}") } else { format!("{median:.3} ({min:.3} … {max:.3})") }
}

pub(crate) fn show_p(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

pub(crate) fn show_share(share: Share) -> String {
    format!("{} of {} ({:.3} %)", share.part, share.whole, share.ratio() * 100.0)
}

pub(crate) fn show_points(failures: &Failures) -> String {
    let Failures { points, interval: (low, high), .. } = failures;
    format!("{points:+.3} points ({low:+.3} … {high:+.3})")
}

fn sentence(finding: Finding, refused: bool) -> &'static str {
    match finding {
        Finding::Better => "the new side is better.",
        Finding::Worse => "the new side is worse.",
        Finding::Mixed => "better in one respect and worse in another.",
        Finding::Same => "no significant difference.",
        Finding::Unjudged if refused => "not judged: the sides are not comparable.",
        Finding::Unjudged => {
            "not judged: too few runs or answers to tell a difference from chance; 5 runs on each side are enough (--repeat 5)."
        }
    }
}
