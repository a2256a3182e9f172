//! `lab history`: record or read a history, judge it, print the verdict.

use std::{
    fs,
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

use stack::{Operation, StackError};

use super::up;
use crate::{
    Console, Settings,
    cli::{HistoryArguments, UpArguments},
    history::{self, Aim, History, Line, Plan, Promise, Verdict, Violation},
};

pub(super) fn run(
    arguments: &HistoryArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<(), StackError> {
    let history = match &arguments.check {
        Some(file) => History::read(file)?,
        None => record(arguments, folder, settings, console, operation)?,
    };
    let verdict = history::check(&history);
    console.print(&table(&history, &verdict));
    if let Some(folder) = &arguments.proof {
        prove(folder, &history, &verdict, console)?;
    }
    if !verdict.violations.is_empty() {
        return Err(StackError::Conflict(format!("the history has {} violations", verdict.violations.len())));
    }
    let weak = if history.complete { verdict.too_weak(&history.head) } else { Some("it has no end".to_owned()) };
    // Without violations, a history that could not show one proves nothing.
    weak.map_or(Ok(()), |why| Err(StackError::Usage(format!("the history proves nothing: {why}"))))
}

fn record(
    arguments: &HistoryArguments,
    folder: &Path,
    settings: &Settings,
    console: &Console,
    operation: &Operation<'_>,
) -> Result<History, StackError> {
    // Next to a running stack, and always the same folder: the next run removes what a crash has left.
    let name = folder.file_name().map(|name| format!("{}-history", name.display()));
    let folder = folder.with_file_name(name.unwrap_or_else(|| "history".to_owned()));
    let how = UpArguments { port: Some(0), api_bin: arguments.api_bin.clone(), ..up::defaults() };
    let up = up::options(&how, &folder, settings)?;
    let seed = arguments.seed.unwrap_or_else(|| fastrand::Rng::new().u64(1..1_000_000));
    let out = arguments.out.clone().unwrap_or_else(|| free_name(seed));
    console.print(&format!("seed {seed}, history in {}", out.display()));
    let (duration, near_cache) = (arguments.duration, arguments.near_cache);
    let aim = Aim { only: arguments.only.clone(), calm: arguments.calm };
    history::record(&Plan { up, duration, seed, aim, near_cache, out }, operation)
}

/// `history-7.ndjson`, or `history-7-2.ndjson` if the first one exists.
fn free_name(seed: u64) -> PathBuf {
    let names = (2..).map(|number| format!("history-{seed}-{number}.ndjson"));
    let mut names = std::iter::once(format!("history-{seed}.ndjson")).chain(names).map(PathBuf::from);
    names.find(|name| !name.exists()).unwrap_or_default()
}

/// The number of violations of a promise that are printed; the table has the total.
const TOLD: usize = 3;

fn table(history: &History, verdict: &Verdict) -> String {
    let mut lines = vec![
        format!(
            "{} calls: {} writes acknowledged, {} in doubt;",
            history.calls.len(),
            verdict.acknowledged,
            verdict.in_doubt
        ),
        format!("{} reads answered, of which {} had to be new", verdict.reads, verdict.strict),
        format!(
            "{} calls failed while nothing was broken, and {} pages came that said that they are old",
            verdict.failed_in_peace, verdict.old_in_peace
        ),
    ];
    if history.head.near_us > 0 {
        let Verdict { near, near_old, near_oldest_us, .. } = verdict;
        let oldest = *near_oldest_us as f64 / 1e3;
        lines.push(format!("{near} of them by a near cache, of which {near_old} were old, by at most {oldest:.1} ms"));
    }
    lines.push(String::new());
    for promise in Promise::ALL {
        let count = verdict.count(promise);
        let outcome = if count == 0 { "held".to_owned() } else { format!("broken {count} times") };
        lines.push(format!("{promise:42}  {outcome}"));
    }
    for promise in Promise::ALL {
        let violations = verdict.violations.iter().filter(|violation| violation.promise == promise);
        for violation in violations.take(TOLD) {
            lines.push(format!("\n{promise}: {}", violation.what));
            lines.extend(told(history, violation));
        }
    }
    lines.join("\n")
}

/// The calls of a violation as they are in the file, and what was broken at that time.
fn told(history: &History, violation: &Violation) -> Vec<String> {
    let calls: Vec<_> = violation.calls.iter().filter_map(|place| history.calls.get(*place)).collect();
    let from = calls.iter().map(|call| call.begin).min().unwrap_or(0);
    let to = calls.iter().map(|call| call.end).max().unwrap_or(u64::MAX);
    let mut about: Vec<_> = history.broken.iter().filter(|broken| broken.from <= to && from <= broken.to).collect();
    // A fault of the schedule lasts longer than a short silence.
    about.sort_by_key(|broken| std::cmp::Reverse(broken.to - broken.from));
    let broken = about.into_iter().map(|broken| Line::Broken(broken.clone()));
    let excerpt = history.excerpt(violation);
    let shown = excerpt
        .calls
        .into_iter()
        .filter(|call| calls.iter().any(|proof| (proof.begin, proof.client) == (call.begin, call.client)));
    let lines = shown.map(Line::Call).chain(broken.take(TOLD));
    lines.filter_map(|line| Some(format!("  {}", serde_json::to_string(&line).ok()?))).collect()
}

fn prove(folder: &Path, history: &History, verdict: &Verdict, console: &Console) -> Result<(), StackError> {
    let failed = |path: &Path, source| StackError::Io { what: format!("cannot write {}", path.display()), source };
    fs::create_dir_all(folder).map_err(|source| failed(folder, source))?;
    for promise in Promise::ALL {
        let violations = verdict.violations.iter().filter(|violation| violation.promise == promise);
        for (violation, number) in violations.take(TOLD).zip(1..) {
            let path = folder.join(format!("{}-{number}.ndjson", promise.name()));
            write(&path, &history.excerpt(violation)).map_err(|source| failed(&path, source))?;
            console.print(&format!("{} proves: {}", path.display(), violation.what));
        }
    }
    Ok(())
}

fn write(path: &Path, history: &History) -> io::Result<()> {
    let mut file = BufWriter::new(fs::File::create(path)?);
    for line in history.lines() {
        serde_json::to_writer(&mut file, &line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}
