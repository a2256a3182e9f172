//! The report as Markdown: the content of the page without its pictures.

use std::fmt::Write as _;

use super::{Subject, file, headline, html, timeline, windows, words};
use crate::verdict::{Judged, Outcome};

pub(super) fn render(subject: &Subject<'_>, postmortem: Option<&str>) -> String {
    let (run, verdict) = (subject.run, subject.verdict);
    let about = &run.begin.experiment.about;
    let mut text = format!("{}\n\n# {}: {}\n\n", file::MARKDOWN_MARK, about.name, verdict.outcome.as_str());
    if !about.question.is_empty() {
        let _infallible = write!(text, "**{}** ", about.question);
    }
    let _infallible = writeln!(text, "{}", headline::sentence(run, verdict));
    if !verdict.invalid.is_empty() {
        let _infallible = write!(
            text,
            "\n{}",
            verdict.invalid.iter().map(|why| format!("- {}\n", words::grouped(why))).collect::<String>()
        );
    }
    for (title, part) in
        [("The source says", &about.says), ("What to expect", &about.expect), ("What to change", &about.change)]
    {
        if !part.is_empty() {
            let _infallible = write!(text, "\n**{title}.** {part}\n");
        }
    }
    text += "\n## Hypotheses\n\n";
    let rows: Vec<Vec<String>> = verdict.judged.iter().map(hypothesis).collect();
    text += &table(&["verdict", "hypothesis", "arm", "window", "limit", "observed", "95 % interval", "n"], &rows);
    let figures: Vec<Vec<String>> = about
        .figures
        .iter()
        .map(|figure| {
            vec![
                figure.what.clone(),
                figure.theirs.clone(),
                html::ours(run, &figure.arm, &figure.window, &figure.measure),
                figure.arm.clone(),
            ]
        })
        .collect();
    if !figures.is_empty() {
        text += "\n## Figures of the source\n\n";
        text += &table(&["figure", "the source", "here", "arm"], &figures);
    }
    text += &windows_of(subject);
    if let Some(postmortem) = postmortem {
        text += "\n";
        text += postmortem;
    }
    text += &timelines(subject);
    text += "\n## The run\n\n";
    for (name, value) in html::circumstance_rows(run) {
        let _infallible = writeln!(text, "- {name}: {value}");
    }
    let _infallible = write!(text, "\n```sh\n{}\n```\n", run.begin.command);
    text
}

fn hypothesis(judged: &Judged) -> Vec<String> {
    let seen = judged.observed.as_ref();
    let word =
        if judged.outcome == Outcome::Held { "held".to_owned() } else { format!("**{}**", judged.outcome.as_str()) };
    vec![
        word,
        judged.says.clone(),
        judged.arm.clone(),
        judged.window.clone(),
        format!("{} {}", judged.measure, words::grouped(&judged.limit)),
        words::figure(judged),
        seen.map_or_else(String::new, |seen| words::interval(seen, &judged.unit)),
        seen.filter(|seen| seen.n > 0).map_or_else(String::new, |seen| words::count(seen.n)),
    ]
}

fn windows_of(subject: &Subject<'_>) -> String {
    let mut rows = Vec::new();
    for arm in &subject.run.arms {
        for row in windows::rows(arm) {
            let mut cells = vec![arm.arm.name.clone(), row.window];
            cells.extend(row.cells);
            cells.push(row.failures);
            rows.push(cells);
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    let head: Vec<&str> = std::iter::once("arm").chain(windows::HEAD).chain(["how it failed"]).collect();
    format!("\n## Before, during, after\n\n{}", table(&head, &rows))
}

fn timelines(subject: &Subject<'_>) -> String {
    // Dozens of short arms have one line each above; the page has their steps.
    const MOST_ARMS: usize = 6;
    if subject.run.arms.len() > MOST_ARMS {
        return String::new();
    }
    let mut text = String::from("\n## Timeline\n");
    for arm in &subject.run.arms {
        let rows: Vec<Vec<String>> = timeline::rows(arm).iter().map(|row| row.cells().to_vec()).collect();
        if !rows.is_empty() {
            let _infallible = write!(text, "\n{}\n\n{}", arm.arm.name, table(&timeline::HEAD, &rows));
        }
    }
    text
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = line(&mut head.iter().map(|name| (*name).to_owned()));
    text += &format!("|{}\n", " --- |".repeat(head.len()));
    rows.iter().for_each(|row| text += &line(&mut row.iter().cloned()));
    text
}
