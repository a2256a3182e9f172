//! The index of many runs in a folder: the last result of each experiment, and the results of each hypothesis over all
//! runs.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use loadgen::charts::escape;
use time::OffsetDateTime;

use super::{ReportError, file, headline, html, words};
use crate::{
    journal::Run,
    verdict::{Outcome, Verdict},
};

/// A journal is recognised by this much of its beginning.
const HEAD: usize = 256;
/// The depth of the search in nested folders.
const DEEPEST: usize = 8;
/// The number of runs of a hypothesis that are shown, the last ones.
const MOST_RUNS: usize = 12;

/// The data of a run in the index.
#[derive(Debug, Clone)]
pub struct Record {
    pub name: String,
    pub at: OffsetDateTime,
    pub verdict: Verdict,
    /// The page of the run.
    pub page: PathBuf,
    question: String,
    sentence: String,
    how: String,
}

impl Record {
    pub(super) fn of(run: &Run<'_>, verdict: &Verdict, page: &Path) -> Self {
        let begin = run.begin;
        let scale = if begin.scale == crate::experiment::Scale::Quick { "quick" } else { "full" };
        Self {
            name: begin.experiment.about.name.clone(),
            at: begin.at,
            verdict: verdict.clone(),
            page: page.to_owned(),
            question: begin.experiment.about.question.clone(),
            sentence: headline::sentence(run, verdict),
            how: format!("{scale}, {}, {}", begin.driver, words::plural(begin.machine.cores as u64, "core", "cores")),
        }
    }
}

/// Every journal in a folder and below, ordered by name. Other files are skipped; links are not followed.
///
/// # Errors
/// The folder cannot be read.
pub fn journals(folder: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let mut found = Vec::new();
    collect(folder, 0, &mut found)?;
    found.sort();
    Ok(found)
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), ReportError> {
    let failed = |source| ReportError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        let path = entry.path();
        if kind.is_dir() && depth < DEEPEST {
            collect(&path, depth + 1, found)?;
        } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "ndjson") && is_journal(&path)
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether the beginning is that of a journal of any version. An unreadable file counts as one, so that its error is
/// reported.
fn is_journal(path: &Path) -> bool {
    use std::io::Read;
    let mut head = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(HEAD as u64).read_to_end(&mut head));
    read.is_err()
        || path.file_name().is_some_and(|name| name == "journal.ndjson")
        || String::from_utf8_lossy(&head).contains("\"lab-journal/")
}

/// Writes `index.html` in the folder; `unread` are journals without a report, each with the reason.
///
/// # Errors
/// A file of this name was not written by the lab, or cannot be written.
pub fn write(folder: &Path, records: &[Record], unread: &[(PathBuf, String)]) -> Result<PathBuf, ReportError> {
    let path = folder.join("index.html");
    file::replace(&path, &render(folder, records, unread))?;
    Ok(path)
}

fn render(folder: &Path, records: &[Record], unread: &[(PathBuf, String)]) -> String {
    let mut by_name: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records {
        by_name.entry(&record.name).or_default().push(record);
    }
    by_name.values_mut().for_each(|runs| runs.sort_by_key(|run| run.at));
    let last = || by_name.values().filter_map(|runs| runs.last());
    let count = |outcome: Outcome| last().filter(|run| run.verdict.outcome == outcome).count();
    let mut page = html::begin("Experiments");
    page += &format!(
        "<h1>Experiments</h1>\n<p class=\"question\">{} of {}. The last runs: {} held, {} deviated, {} cannot be told.</p>\n",
        words::plural(records.len() as u64, "run", "runs"),
        words::plural(by_name.len() as u64, "experiment", "experiments"),
        count(Outcome::Held) + count(Outcome::Skipped),
        count(Outcome::Deviated),
        count(Outcome::Invalid),
    );
    let rows: Vec<Vec<String>> = by_name.values().filter_map(|runs| row(folder, runs)).collect();
    page += &html::table(&["verdict", "experiment", "the last run", "all runs", "when"], &rows);
    if !unread.is_empty() {
        let list: String = unread
            .iter()
            .map(|(path, why)| format!("<li>{}: {}</li>\n", escape(&relative(folder, path)), escape(why)))
            .collect();
        page += &format!("<h2>Not read</h2>\n<ul class=\"reasons\">\n{list}</ul>\n");
    }
    page += "<h2>Hypotheses over the runs</h2>\n";
    page += &by_name.iter().map(|(name, runs)| history(folder, name, runs)).collect::<String>();
    page + &html::end("")
}

fn row(folder: &Path, runs: &[&Record]) -> Option<Vec<String>> {
    let last = runs.last()?;
    let word = last.verdict.outcome.as_str();
    let strip: String = runs
        .iter()
        .rev()
        .take(MOST_RUNS * 2)
        .rev()
        .map(|run| {
            format!(
                "<i class=\"{}\" title=\"{}: {}\"></i>",
                run.verdict.outcome.as_str(),
                words::date(run.at),
                run.verdict.outcome.as_str()
            )
        })
        .collect();
    Some(vec![
        format!("<span class=\"badge {word}\">{word}</span>"),
        format!(
            "<a href=\"{}\">{}</a><small>{}</small>",
            link(folder, &last.page),
            escape(&last.name),
            escape(&last.question)
        ),
        escape(&last.sentence),
        format!("<span class=\"history\">{strip}</span>"),
        format!("nowrap|{}<small>{}</small>", words::date(last.at), escape(&last.how)),
    ])
}

/// A line for each hypothesis, a column for each run.
fn history(folder: &Path, name: &str, runs: &[&Record]) -> String {
    let shown = &runs[runs.len().saturating_sub(MOST_RUNS)..];
    let heads: String = shown
        .iter()
        .map(|run| {
            let date = words::date(run.at);
            let (day, time) = date.split_once(' ').unwrap_or((&date, ""));
            format!(
                "<th class=\"n\"><a href=\"{}\">{}<small>{}</small></a></th>",
                link(folder, &run.page),
                &day[5.min(day.len())..],
                time.trim_end_matches(" UTC")
            )
        })
        .collect();
    // A hypothesis is the same if its words, its arm, its window and its limit are.
    let mut lines: Vec<[&str; 4]> = Vec::new();
    for judged in shown.iter().rev().flat_map(|run| &run.verdict.judged) {
        let key = [judged.says.as_str(), judged.arm.as_str(), judged.window.as_str(), judged.limit.as_str()];
        if !lines.contains(&key) {
            lines.push(key);
        }
    }
    let line = |key: &[&str; 4]| {
        let cells: String = shown
            .iter()
            .map(|run| {
                let judged = run
                    .verdict
                    .judged
                    .iter()
                    .find(|judged| [judged.says.as_str(), &judged.arm, &judged.window, &judged.limit] == *key);
                judged.map_or_else(
                    || "<td class=\"n\"></td>".to_owned(),
                    |judged| {
                        let word = judged.outcome.as_str();
                        let value = judged
                            .observed
                            .as_ref()
                            .map_or_else(|| word.to_owned(), |seen| words::value(seen.value, &judged.unit));
                        format!("<td class=\"n {word}\" title=\"{word}\">{}</td>", escape(&value))
                    },
                )
            })
            .collect();
        format!(
            "<tr><td>{}<small>{}, {}; {}</small></td>{cells}</tr>\n",
            escape(key[0]),
            escape(key[1]),
            escape(key[2]),
            escape(key[3])
        )
    };
    let rows: String = lines.iter().map(line).collect();
    let left_out = runs.len() - shown.len();
    let note = if left_out > 0 {
        format!("<p class=\"caption\">{left_out} earlier runs are not shown.</p>\n")
    } else {
        String::new()
    };
    format!(
        "<details><summary>{} ({}, {})</summary>\n<div class=\"table\"><table><thead><tr><th></th>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n{note}</details>\n",
        escape(name),
        words::plural(lines.len() as u64, "hypothesis", "hypotheses"),
        words::plural(runs.len() as u64, "run", "runs"),
    )
}

fn relative(folder: &Path, path: &Path) -> String {
    path.strip_prefix(folder).unwrap_or(path).display().to_string()
}

/// A path as a link, percent-encoded.
fn link(folder: &Path, path: &Path) -> String {
    let mut link = String::new();
    for byte in relative(folder, path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => link.push(char::from(byte)),
            other => link += &format!("%{other:02X}"),
        }
    }
    link
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_a_url() {
        assert_eq!(link(Path::new("a"), Path::new("a/b c/ü#1.html")), "b%20c/%C3%BC%231.html");
    }
}
