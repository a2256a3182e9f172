//! `lab list` and `lab init`.

use std::{fs::OpenOptions, io::Write, path::PathBuf};

use stack::StackError;

use crate::{
    Console,
    experiment::{EXAMPLE, Experiment, Scale},
    experiments,
};

/// The seed does not affect the list.
const ANY_SEED: u64 = 1;

pub(super) fn list(json: bool, console: &Console) -> Result<(), StackError> {
    let all = experiments::all(Scale::Full, ANY_SEED);
    if json {
        let abouts: Vec<_> = all.iter().map(|experiment| &experiment.about).collect();
        let text = serde_json::to_string_pretty(&abouts).map_err(|error| StackError::Io {
            what: "cannot write the list as JSON".to_owned(),
            source: error.into(),
        })?;
        console.print(&text);
        return Ok(());
    }
    console.print(&table(&all));
    Ok(())
}

/// By lesson: those of the guided lessons first, the others at the end.
fn table(all: &[Experiment]) -> String {
    let width = all.iter().map(|experiment| experiment.about.name.len()).max().unwrap_or(0);
    let mut lessons: Vec<&str> = all.iter().map(|experiment| experiment.about.lesson.as_str()).collect();
    lessons.sort_unstable_by_key(|lesson| (lesson.is_empty(), *lesson));
    lessons.dedup();
    let mut lines = Vec::new();
    for lesson in lessons {
        lines.push(if lesson.is_empty() { "other experiments".to_owned() } else { lesson.to_owned() });
        for experiment in all.iter().filter(|experiment| experiment.about.lesson == lesson) {
            let about = &experiment.about;
            lines.push(format!("  {:width$}  {}", about.name, about.question));
        }
        lines.push(String::new());
    }
    lines.push("lab run NAME --quick runs one; lab run --all --quick runs them all".to_owned());
    lines.join("\n")
}

pub(super) fn init(name: &str, console: &Console) -> Result<(), StackError> {
    let text = EXAMPLE.replace("my-experiment", name);
    Experiment::parse(&text, name).map_err(|error| StackError::Usage(error.to_string()))?;
    let path = PathBuf::from(format!("{name}.toml"));
    let failed = |source| StackError::Io { what: format!("cannot create {}", path.display()), source };
    let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    console.print(&format!("{} is written; `lab run ./{name}.toml` runs it", path.display()));
    Ok(())
}
