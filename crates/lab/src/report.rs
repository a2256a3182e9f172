//! Reports for people and for machines. Everything here is a pure function of the journal, so that a later lab can
//! report an old journal again.
//!
//! - [`html`](self::html): one page that needs no network; [`markdown`](self::markdown); [`junit`](self::junit) for CI
//! - [`index`](self::index): many runs, with the history of each hypothesis
//! - [`postmortem`](self::postmortem): incidents, their impact, and the times to detect and to recover

mod bands;
mod course;
mod embed;
mod file;
mod headline;
mod html;
pub mod index;
mod junit;
mod markdown;
mod postmortem;
mod timeline;
mod windows;
mod words;

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use crate::{
    journal::{Journal, JournalError, Run},
    verdict::{self, Verdict},
};

/// Why there is no report.
#[derive(Debug, Error)]
pub enum ReportError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("cannot read {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {path}: {source}", path = path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{path} was not written by the lab, so it is left alone; move it away, or the journal to another folder", path = path.display())]
    NotOurs { path: PathBuf },
}

/// The files that were written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    pub html: PathBuf,
    pub markdown: PathBuf,
    pub junit: PathBuf,
    /// Only if something was broken under load.
    pub postmortem: Option<PathBuf>,
}

/// The input of a report.
struct Subject<'a> {
    run: &'a Run<'a>,
    verdict: &'a Verdict,
    /// The name and content of the journal's file.
    name: &'a str,
    text: &'a str,
    is_cut: bool,
}

/// Reads a journal, judges it, and writes its reports beside it. Earlier reports of the lab are replaced.
///
/// # Errors
/// The journal cannot be read or has another schema; a file of the same name was not written by the lab, or cannot be
/// written.
pub fn write(journal: &Path) -> Result<Paths, ReportError> {
    written(journal).map(|(paths, _)| paths)
}

/// The same, with the data for an index.
pub(crate) fn written(journal: &Path) -> Result<(Paths, index::Record), ReportError> {
    let bytes = std::fs::read(journal).map_err(|source| ReportError::Read { path: journal.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let read = Journal::parse(&text, journal)?;
    let run = read.run().ok_or_else(|| JournalError::Foreign {
        path: journal.to_owned(),
        why: "its first line does not begin a run".to_owned(),
    })?;
    let verdict = verdict::judge(&run);
    let name = journal.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let subject = Subject { run: &run, verdict: &verdict, name: &name, text: &text, is_cut: read.is_cut };
    let postmortem = postmortem::Postmortem::of(&run);
    let place = |suffix: &str| place(journal, suffix);
    let paths = Paths {
        html: place("report.html"),
        markdown: place("report.md"),
        junit: place("junit.xml"),
        postmortem: postmortem.is_some().then(|| place("postmortem.md")),
    };
    let story = postmortem.as_ref().map(|postmortem| postmortem.markdown(&run, &verdict));
    let mut files = vec![
        (&paths.html, html::render(&subject, postmortem.as_ref())),
        (&paths.markdown, markdown::render(&subject, story.as_deref())),
        (&paths.junit, junit::render(&run, &verdict)),
    ];
    if let (Some(path), Some(story)) = (&paths.postmortem, story) {
        files.push((path, format!("{}\n\n{story}", file::MARKDOWN_MARK)));
    }
    // All or none: the files are checked before any is replaced.
    for (path, _) in &files {
        file::check(path)?;
    }
    for (path, text) in files {
        file::replace(path, &text)?;
    }
    let record = index::Record::of(&run, &verdict, &paths.html);
    Ok((paths, record))
}

/// `report.html` beside `journal.ndjson`; beside a journal of another name `NAME.report.html`.
fn place(journal: &Path, suffix: &str) -> PathBuf {
    let stem = journal.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    journal.with_file_name(if stem == "journal" { suffix.to_owned() } else { format!("{stem}.{suffix}") })
}
