//! `lab report`: judges journals again, and writes their reports and an index.

use std::path::{Path, PathBuf};

use stack::StackError;

use crate::{
    Console,
    journal::Journal,
    report::{self, ReportError, index},
    verdict::{self, Outcome},
};

/// Below everything that a run measures.
const GENTLE: i32 = 15;

pub(super) fn run(paths: &[PathBuf], console: &Console) -> Result<(), StackError> {
    let mut seen = Seen::default();
    for path in paths {
        if path.is_dir() {
            folder(path, &mut seen, console)?;
        } else {
            seen.one(path, console)?;
        }
    }
    seen.conclude(console)
}

/// Reports for all journals below a folder, and the index in it.
fn folder(folder: &Path, seen: &mut Seen, console: &Console) -> Result<(), StackError> {
    let journals = index::journals(folder)?;
    if journals.is_empty() {
        return Err(StackError::Usage(format!("there is no journal in {}", folder.display())));
    }
    let (records, unread) = (seen.records.len(), seen.unread.len());
    for journal in &journals {
        seen.one(journal, console)?;
    }
    let index = index::write(folder, &seen.records[records..], &seen.unread[unread..])?;
    seen.index.push(index);
    Ok(())
}

/// The index over all runs of a folder.
pub(super) fn index(folder: &Path) -> Result<(), StackError> {
    let mut records = Vec::new();
    let mut unread = Vec::new();
    for journal in index::journals(folder)? {
        match report::written(&journal) {
            Ok((_, record)) => records.push(record),
            Err(error) => unread.push((journal, error.to_string())),
        }
    }
    index::write(folder, &records, &unread)?;
    Ok(())
}

/// `lab judge`: the verdict on a journal as far as it goes. The run may go on meanwhile and is measured: this waits for it.
pub(super) fn judge(journal: &Path, console: &Console) -> Result<(), StackError> {
    // Without it the verdict is the same.
    let _nicer = rustix::process::nice(GENTLE);
    let journal = Journal::read(journal)?;
    let run = journal.run().ok_or_else(|| StackError::Conflict("the journal has no beginning".to_owned()))?;
    let text = serde_json::to_string(&verdict::judge(&run));
    let failed =
        |error: serde_json::Error| StackError::Io { what: "cannot write the verdict".to_owned(), source: error.into() };
    console.print(&text.map_err(failed)?);
    Ok(())
}

#[derive(Default)]
struct Seen {
    records: Vec<index::Record>,
    unread: Vec<(PathBuf, String)>,
    index: Vec<PathBuf>,
}

impl Seen {
    /// A journal that cannot be read is reported at the end and does not prevent the other reports. A write error ends
    /// the command.
    fn one(&mut self, journal: &Path, console: &Console) -> Result<(), StackError> {
        console.live(&journal.display().to_string());
        let written = report::written(journal);
        console.end_live();
        match written {
            Ok((_, record)) => self.records.push(record),
            Err(error @ (ReportError::Journal(_) | ReportError::Read { .. })) => {
                self.unread.push((journal.to_owned(), error.to_string()));
            }
            Err(error @ (ReportError::NotOurs { .. } | ReportError::Write { .. })) => return Err(error.into()),
        }
        Ok(())
    }

    /// The table, and the exit code of the worst result: deviated, then cannot be judged, then interrupted.
    fn conclude(self, console: &Console) -> Result<(), StackError> {
        if !self.records.is_empty() {
            console.print(&table(&self.records));
        }
        self.index.iter().for_each(|path| console.print(&format!("{}", path.display())));
        let of = |outcome: Outcome| -> Vec<String> {
            let fits =
                self.records.iter().filter(|record| record.verdict.outcome == outcome && !record.verdict.interrupted);
            let mut names: Vec<String> = fits.map(|record| record.name.clone()).collect();
            names.dedup();
            names
        };
        let (deviated, mut invalid) = (of(Outcome::Deviated), of(Outcome::Invalid));
        let unread: Vec<String> = self.unread.iter().map(|(_, why)| why.clone()).collect();
        if !deviated.is_empty() {
            unread.iter().for_each(|why| console.print(why));
            return Err(StackError::Conflict(format!("deviated: {}", deviated.join(", "))));
        }
        if !invalid.is_empty() || !unread.is_empty() {
            if !invalid.is_empty() {
                invalid = vec![format!("not to be judged: {}", invalid.join(", "))];
            }
            return Err(StackError::Usage([unread, invalid].concat().join("\nlab: ")));
        }
        if self.records.iter().any(|record| record.verdict.interrupted) {
            return Err(StackError::Interrupted);
        }
        Ok(())
    }
}

fn table(records: &[index::Record]) -> String {
    let width = records.iter().map(|record| record.name.chars().count()).max().unwrap_or(0);
    let line = |record: &index::Record| {
        let held = record.verdict.judged.iter().filter(|judged| judged.outcome == Outcome::Held).count();
        let word = if record.verdict.interrupted { "interrupted" } else { record.verdict.outcome.as_str() };
        let (name, all, page) = (&record.name, record.verdict.judged.len(), record.page.display());
        format!("{name:width$}  {word:11}  {held:>3} of {all:>3} held  {page}")
    };
    records.iter().map(line).collect::<Vec<_>>().join("\n")
}

impl From<ReportError> for StackError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::Journal(error) => error.into(),
            ReportError::Read { path, source } => Self::Io { what: format!("cannot read {}", path.display()), source },
            ReportError::Write { path, source } => {
                Self::Io { what: format!("cannot write {}", path.display()), source }
            }
            error @ ReportError::NotOurs { .. } => Self::Usage(error.to_string()),
        }
    }
}
