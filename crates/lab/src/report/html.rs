//! The page: one file that needs no network, in light and dark, from the verdict to the journal.
//!
//! Everything is drawn here; the scripts only show figures under the pointer, and more of
//! them where one zooms in.

mod arms;
mod compact;
mod incidents;
mod panels;
mod tables;
mod zoom;

use loadgen::charts::{self, escape};

pub(super) use self::tables::{circumstance_rows, ours, table};

use super::{Subject, embed, file, headline, postmortem::Postmortem, words};
use crate::verdict::Outcome;

const STYLE: &str = include_str!("html/style.css");
const SCRIPT: &str = include_str!("html/script.js");
/// The stripes between the order of a fault and its effect.
const PATTERNS: &str = "<svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\"><defs><pattern id=\"hatch\" width=\"5\" height=\"5\" \
     patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><line x1=\"0\" y1=\"0\" x2=\"0\" y2=\"5\"/></pattern></defs></svg>\n";

pub(super) fn render(subject: &Subject<'_>, postmortem: Option<&Postmortem<'_>>) -> String {
    let name = &subject.run.begin.experiment.about.name;
    let mut html = begin(&format!("{name}: {}", subject.verdict.outcome.as_str()));
    html += &header(subject);
    html += &meaning(subject);
    html += &section("Hypotheses", &tables::hypotheses(subject.verdict));
    html += &section("Figures of the source", &tables::source(subject.run));
    html += &arms::sections(subject.run, subject.verdict);
    if let Some(postmortem) = postmortem {
        html += &section("Post-mortem", &incidents::section(postmortem, subject.run, subject.verdict));
    }
    html += &section("Timeline, planned and actual", &tables::timelines(subject.run));
    html += &section("The load generator", &tables::generator(subject.run));
    html += &section("The run", &tables::circumstances(subject));
    html += &section("To repeat it", &format!("<pre class=\"command\">{}</pre>\n", escape(&subject.run.begin.command)));
    html += &section("The journal", &journal(subject));
    if html.contains(zoom::MARK) {
        html += &zoom::script();
    }
    html + &end(SCRIPT)
}

/// The head of a page of the lab.
pub(super) fn begin(title: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n{}\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{}</title>\n\
         <style>\n{}{STYLE}</style>\n</head>\n<body>\n{PATTERNS}<main>\n",
        file::HTML_MARK,
        escape(title),
        charts::STYLE
    )
}

pub(super) fn end(script: &str) -> String {
    let script = if script.is_empty() { String::new() } else { format!("<script>\n{script}</script>\n") };
    format!("</main>\n{script}</body>\n</html>\n")
}

/// A section without content has no heading.
fn section(title: &str, content: &str) -> String {
    if content.is_empty() { String::new() } else { format!("<section>\n<h2>{title}</h2>\n{content}</section>\n") }
}

fn header(subject: &Subject<'_>) -> String {
    let (verdict, about) = (subject.verdict, &subject.run.begin.experiment.about);
    let meaning = match verdict.outcome {
        _ if verdict.interrupted => "the run was interrupted",
        Outcome::Held => "every hypothesis held",
        Outcome::Deviated => "a hypothesis did not hold",
        Outcome::Invalid => "it cannot be told",
        Outcome::Skipped => "not judged on this machine",
    };
    let word = verdict.outcome.as_str();
    let mut html = format!(
        "<header>\n<p class=\"verdict {word}\"><b>{word}</b><span>{meaning}</span></p>\n<h1>{}</h1>\n<p class=\"question\">{}</p>\n",
        escape(&about.name),
        escape(&about.question)
    );
    html += &format!("<p class=\"sentence\">{}</p>\n", escape(&headline::sentence(subject.run, verdict)));
    if !verdict.invalid.is_empty() {
        let reasons: String =
            verdict.invalid.iter().map(|why| format!("<li>{}</li>\n", escape(&words::grouped(why)))).collect();
        html += &format!("<ul class=\"reasons\">\n{reasons}</ul>\n");
    }
    let with_arm = subject.run.begin.experiment.arms.len() > 1;
    let tiles: String = headline::figures(verdict)
        .into_iter()
        .map(|judged| {
            let value = judged.observed.as_ref().map_or_else(|| "–".to_owned(), |seen| words::value(seen.value, &judged.unit));
            let arm = if with_arm { format!("{}: ", judged.arm) } else { String::new() };
            format!(
                "<div class=\"{}\"><span class=\"label\">{}{}</span><b class=\"big\">{}</b><small>{}; limit {}</small></div>\n",
                judged.outcome.as_str(),
                escape(&arm),
                escape(&judged.says),
                escape(&value),
                escape(&judged.measure),
                escape(&words::grouped(&judged.limit)),
            )
        })
        .collect();
    html + &format!("<div class=\"duo\">\n{tiles}</div>\n</header>\n")
}

/// What was expected and why, and what to change.
fn meaning(subject: &Subject<'_>) -> String {
    let about = &subject.run.begin.experiment.about;
    let parts = [
        ("The source says", &about.says),
        ("What to expect", &about.expect),
        ("What to change in a system that does worse", &about.change),
    ];
    let cards: String = parts
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(title, text)| format!("<div><span class=\"label\">{title}</span><p>{}</p></div>\n", escape(text)))
        .collect();
    if cards.is_empty() { String::new() } else { format!("<div class=\"duo\">\n{cards}</div>\n") }
}

fn journal(subject: &Subject<'_>) -> String {
    let name = escape(subject.name);
    let lines = words::count(subject.text.lines().count() as u64);
    let cut = if subject.is_cut { " It has no end: the run was cut short, or was still going on." } else { "" };
    match embed::journal(subject.text) {
        Some(embedded) => {
            let thinned = if embedded.is_thinned {
                " The points that were shown while the load ran are left out; the load's own record has what is in them."
            } else {
                ""
            };
            let size = words::count(embedded.size.div_ceil(1_000) as u64);
            format!(
                "<p><a download=\"{name}.gz\" href=\"{}\">Save {name}.gz</a> ({lines} lines, {size} kB). This page is made from it \
                 alone: <code>lab report {name}</code> makes it again.{thinned}{cut}</p>\n",
                embedded.link
            )
        }
        None => format!(
            "<p>{name} ({lines} lines, {} MB) is too large to be in this page and stays beside it. <code>lab report {name}</code> makes \
             this page again.{cut}</p>\n",
            words::trimmed(subject.text.len() as f64 / 1e6, 1)
        ),
    }
}
