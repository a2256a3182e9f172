//! The page at the end of a lesson: what was run, the results, and whether the target was reached. A pure function of
//! verdicts.

use std::fmt::Write;

use loadgen::charts::escape;

use super::Lesson;
use crate::verdict::{Judged, Outcome, Verdict, number};

/// One experiment of a lesson that was run.
#[derive(Debug, Clone)]
pub struct Step {
    pub name: String,
    /// The link from the page to its report.
    pub link: String,
    pub question: String,
    pub verdict: Verdict,
}

/// Everything on the page.
#[derive(Debug, Clone)]
pub struct Certificate {
    pub lesson: &'static Lesson,
    pub steps: Vec<Step>,
    /// The judgement of the target.
    pub target: Verdict,
    /// The day, as it is printed.
    pub date: String,
}

const STYLE: &str = include_str!("certificate.css");

impl Certificate {
    /// Whether the target was reached. Only the target is judged, not the other experiments.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.target.outcome == Outcome::Held
    }

    /// One HTML file that needs no network.
    #[must_use]
    pub fn to_html(&self) -> String {
        let Lesson { title, brief, target, .. } = self.lesson;
        let reached = if self.is_reached() { "Target reached" } else { "Target not reached" };
        let class = self.target.outcome.as_str();
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>\n{STYLE}</style>\n<main>\n<p class=\"kind\">Lesson</p>\n<h1>{title}</h1>\n\
             <p>{brief}</p>\n<section class=\"target {class}\">\n<h2>{reached}</h2>\n<p>{target}</p>\n<ul>\n",
        );
        for judged in &self.target.judged {
            // Writing to a String cannot fail.
            let _infallible = writeln!(page, "<li>{}</li>", line(judged));
        }
        for why in &self.target.invalid {
            let _infallible = writeln!(page, "<li>{}</li>", escape(why));
        }
        page += "</ul>\n</section>\n<h2>What was run</h2>\n<ol>\n";
        for step in &self.steps {
            let outcome = step.verdict.outcome.as_str();
            let held = step.verdict.judged.iter().filter(|judged| judged.outcome == Outcome::Held).count();
            let _infallible = writeln!(
                page,
                "<li><a href=\"{}\">{}</a><br>{}<br><span class=\"{outcome}\">{outcome}</span>, {held} of {} hypotheses</li>",
                escape(&step.link),
                escape(&step.name),
                escape(&step.question),
                step.verdict.judged.len()
            );
        }
        let _infallible = write!(
            page,
            "</ol>\n<p class=\"date\">Measured on the running stack, {}.</p>\n</main>\n</html>\n",
            self.date
        );
        page
    }
}

fn line(judged: &Judged) -> String {
    let figure = match &judged.observed {
        Some(observed) if !observed.text.is_empty() => observed.text.clone(),
        Some(observed) => format!("{} {}", number(observed.value), judged.unit).trim_end().to_owned(),
        None => judged.why.clone(),
    };
    let (outcome, says) = (judged.outcome.as_str(), escape(&judged.says));
    format!("<span class=\"{outcome}\">{outcome}</span> {says}: {} ({})", escape(&figure), escape(&judged.limit))
}
