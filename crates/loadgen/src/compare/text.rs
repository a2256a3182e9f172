//! The comparison as a table and two sentences.

use std::fmt::Write as _;

use super::{Comparison, Finding, Row, Spread};

const NAME: usize = 22;
const SIDE: usize = 34;

pub(super) fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    let (base, new) = comparison.runs;
    let plural = |runs: usize| if runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
    let (base_head, new_head) = (format!("base ({})", plural(base)), format!("new ({})", plural(new)));
    // Writing into a String cannot fail.
    let _infallible =
        writeln!(text, "{:NAME$}{base_head:>SIDE$}{new_head:>SIDE$}{:>9}{:>9}", "median (min … max)", "ratio", "p");
    for row in comparison.throughput.iter().chain(&comparison.latency) {
        let Row { name, base, new, ratio, p, finding } = row;
        let p = match *finding {
            Finding::Unjudged => "–".to_owned(),
            _ if *p < 0.001 => "<0.001".to_owned(),
            _ => format!("{p:.3}"),
        };
        let _infallible = writeln!(
            text,
            "{name:NAME$}{:>SIDE$}{:>SIDE$}{ratio:>9.3}{p:>9}  {}",
            show(base),
            show(new),
            word(*finding)
        );
    }
    text.push('\n');
    for warning in &comparison.warnings {
        let _infallible = writeln!(text, "Warning: {warning}");
    }
    for (group, rows) in [("Throughput", &comparison.throughput), ("Latency", &comparison.latency)] {
        let _infallible = writeln!(text, "{group}: {}", sentence(Comparison::overall(rows)));
    }
    text
}

fn show(spread: &Spread) -> String {
    let Spread { median, min, max } = spread;
    if min == max { format!("{median:.3}") } else { format!("{median:.3} ({min:.3} … {max:.3})") }
}

fn word(finding: Finding) -> &'static str {
    match finding {
        Finding::Better => "better",
        Finding::Worse => "worse",
        Finding::Mixed => "mixed",
        Finding::Same => "no significant difference",
        Finding::Unjudged => "",
    }
}

fn sentence(finding: Finding) -> &'static str {
    match finding {
        Finding::Better => "the new side is better.",
        Finding::Worse => "the new side is worse.",
        Finding::Mixed => "better in one respect and worse in another.",
        Finding::Same => "no significant difference.",
        Finding::Unjudged => {
            "not judged: too few runs to tell a difference from chance; 5 on each side are enough (--repeat 5)."
        }
    }
}
