//! `docs/experiments`: one page for each, made from the data and from what was recorded.
//!
//! `UPDATE_DOCS=1` writes the pages anew. With `RECORDED=DIR` as well, where `lab run --out DIR` left its journals, what they
//! say is taken over first.

use std::{collections::BTreeSet, fs, path::Path};

use lab::{
    experiment::Scale,
    experiments::{
        self,
        page::{self, Recorded},
    },
    journal::Journal,
};

use super::{folder, is_current, update, variable};

const PAGES: &str = "docs/experiments";

fn recorded(name: &str) -> Option<Recorded> {
    let file = folder(PAGES).join("recorded").join(format!("{name}.json"));
    let text = fs::read_to_string(file).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
}

/// The last journal of each experiment.
fn take_over(from: &Path) {
    for experiment in experiments::all(Scale::Full, 1) {
        let name = &experiment.about.name;
        let Ok(runs) = fs::read_dir(from.join(name)) else { continue };
        let runs: BTreeSet<_> = runs.filter_map(|run| Some(run.ok()?.path())).collect();
        let Some(last) = runs.last() else { continue };
        let journal = Journal::read(&last.join("journal.ndjson")).unwrap_or_else(|error| panic!("{name}: {error}"));
        let recorded = Recorded::from_run(&journal.run().expect("a journal with a beginning"));
        let file = folder(PAGES).join("recorded").join(format!("{name}.json"));
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
        fs::write(file, serde_json::to_string_pretty(&recorded).expect("JSON") + "\n").expect("the file is written");
    }
}

#[test]
fn every_experiment_has_a_page_and_it_is_current() {
    if let Some(from) = variable("RECORDED").filter(|_| update()) {
        take_over(Path::new(&from));
    }
    let all = experiments::all(Scale::Full, 1);
    let mut files = BTreeSet::from(["README.md".to_owned(), "recorded".to_owned()]);
    let mut stale = Vec::new();
    for experiment in &all {
        let name = &experiment.about.name;
        let recorded = recorded(name);
        // The page shows the experiment as it was run.
        let (scale, seed) = recorded.as_ref().map_or((Scale::Full, 1), |recorded| (recorded.scale, recorded.seed));
        let shown = experiments::named(name, scale, seed).expect("it is in the list");
        let file = format!("{name}.md");
        if !is_current(&folder(PAGES).join(&file), &page::render(&shown, recorded.as_ref())) {
            stale.push(file.clone());
        }
        files.insert(file);
    }
    if !is_current(&folder(PAGES).join("README.md"), &page::index(&all, recorded)) {
        stale.push("README.md".to_owned());
    }
    assert!(stale.is_empty(), "stale: {stale:?}; UPDATE_DOCS=1 cargo test -p lab --test experiments writes them anew");
    let there = fs::read_dir(folder(PAGES)).expect("the pages");
    let there: BTreeSet<String> =
        there.filter_map(|file| Some(file.ok()?.file_name().to_string_lossy().into_owned())).collect();
    assert!(there.is_subset(&files), "of no experiment: {:?}", there.difference(&files));
}
