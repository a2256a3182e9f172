//! A mechanism is switched off behind an experiment's back: its verdict has to say so.

use std::{collections::BTreeMap, fs, path::Path};

use lab::{
    experiment::{Action, Arm, Experiment, Scale},
    experiments,
    journal::Journal,
    verdict::{self, Outcome},
};
use serde_json::Value;
use stack::Restart;

use crate::support::Place;

/// What is done to the case before it runs.
type Sabotage = fn(&mut Arm);

/// The experiment, its case, the sabotage, and the hypothesis that must not survive it.
const SABOTAGED: [(&str, &str, Sabotage, &str); 6] = [
    ("single-instance-crash", "one-of-three", |arm| arm.stack.replicas = 1, "no GET fails"),
    ("rolling-restart", "rolling", restart_all_at_once, "no GET fails"),
    (
        "postgres-kill",
        "killed",
        |arm| switch(arm, &[("CACHE", "off")]),
        "no read of a cached record fails, before, during or after",
    ),
    ("redis-pause", "with", |arm| switch(arm, &[("TIMEOUTS", "off"), ("BREAKERS", "off")]), "most do not even notice"),
    ("penetration", "with", |arm| switch(arm, &[("CACHE_MISSING", "1ms")]), "each id is read once in 2 s"),
    ("stampede", "with", |arm| switch(arm, &[("SINGLE_FLIGHT", "off")]), "each replica reads once at most"),
];

fn switch(arm: &mut Arm, variables: &[(&str, &str)]) {
    arm.stack.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}

fn restart_all_at_once(arm: &mut Arm) {
    for step in &mut arm.steps {
        if let Action::Restart(restart) = &mut step.action {
            *restart = Restart::AllAtOnce;
        }
    }
}

/// One case with one hypothesis.
fn sabotaged(name: &str, case: &str, sabotage: Sabotage, says: &str) -> Experiment {
    let mut experiment = experiments::named(name, Scale::Quick, 1).expect("it is in the list");
    experiment.about.figures.clear();
    experiment.arms.retain(|arm| arm.name == case);
    experiment.arms.iter_mut().for_each(sabotage);
    experiment.hypotheses.retain(|hypothesis| hypothesis.arm == case && hypothesis.says == says);
    assert_eq!((experiment.arms.len(), experiment.hypotheses.len()), (1, 1), "{name}, {case}: {says}");
    experiment
}

/// A user's file: each field on a line of its own.
fn toml(experiment: &Experiment) -> String {
    let json = serde_json::to_value(experiment).unwrap();
    let fields = json.as_object().unwrap().iter().map(|(name, value)| format!("{name} = {}\n", inline(value)));
    fields.collect()
}

/// Strings and numbers are written as in JSON.
fn inline(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().filter(|(_, value)| !value.is_null());
            let fields: Vec<String> =
                fields.map(|(name, value)| format!("{} = {}", Value::from(name.as_str()), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(inline).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn outcome(out: &Path, name: &str) -> (Outcome, String) {
    let run = fs::read_dir(out.join(name)).unwrap().next().expect("a run").unwrap();
    let journal = Journal::read(&run.path().join("journal.ndjson")).unwrap();
    let verdict = verdict::judge(&journal.run().unwrap());
    (verdict.outcome, format!("{verdict:#?}"))
}

#[test]
fn an_experiment_deviates_when_its_mechanism_is_switched_off() {
    let place = Place::new();
    let mut files = Vec::new();
    for (name, case, sabotage, says) in SABOTAGED {
        let file = place.beside(&format!("{name}.toml"));
        let experiment = sabotaged(name, case, sabotage, says);
        fs::write(&file, toml(&experiment)).unwrap();
        files.push(file.display().to_string());
    }
    let out = place.beside("out");
    let out_text = out.display().to_string();
    let mut words = vec!["run", "--quick", "--out", &out_text];
    words.extend(files.iter().map(String::as_str));
    let ended = place.lab(&words);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let outcomes: BTreeMap<_, _> = SABOTAGED.map(|(name, ..)| (name, outcome(&out, name))).into();
    for (name, (outcome, text)) in outcomes {
        assert_eq!(outcome, Outcome::Deviated, "{name}: {text}");
    }
}
