//! Every experiment as JSON: a change of what is asked shows in a review.

use lab::{
    experiment::{Experiment, Scale},
    experiments,
};

use super::{folder, is_current};

fn line(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("JSON")
}

/// One case and one hypothesis a line.
fn text(experiment: &Experiment) -> String {
    let mut lines = vec![line(&experiment.about)];
    lines.extend(experiment.arms.iter().map(line));
    lines.extend(experiment.hypotheses.iter().map(line));
    lines.join("\n") + "\n"
}

#[test]
fn every_experiment_is_as_it_was_written_down() {
    for experiment in experiments::all(Scale::Quick, 1) {
        let file = folder("crates/lab/tests/experiments/snapshots").join(format!("{}.ndjson", experiment.about.name));
        assert!(
            is_current(&file, &text(&experiment)),
            "{} is another one; UPDATE_DOCS=1 cargo test -p lab --test experiments writes it anew",
            file.display()
        );
    }
}
