//! A mechanism is switched off behind an experiment's back: its verdict has to say so.
//!
//! Six arms of six experiments become one experiment, so that one stack serves them all. Each takes a third of its time and, where
//! the mechanism is not about several replicas, one replica.

use std::{fs, time::Duration};

use lab::{
    experiment::{About, Action, Arm, Experiment, Scale, Via},
    experiments,
    hypothesis::Hypothesis,
    journal::Journal,
    verdict::{self, Outcome},
};
use serde_json::Value;
use stack::Restart;

use crate::support::Place;

/// What is done to the arm before it runs.
type Sabotage = fn(&mut Arm);

/// The experiment, its arm, the sabotage, and the hypothesis that must not survive it.
const SABOTAGED: [(&str, &str, Sabotage, &str); 6] = [
    ("single-instance-crash", "one-of-three", |arm| arm.stack.replicas = 1, "no GET fails"),
    (
        "redis-pause",
        "with",
        |arm| switch(arm, &[("TIMEOUTS", "off"), ("BREAKERS", "off")]),
        "no read of a cached record fails",
    ),
    ("penetration", "with", |arm| switch(arm, &[("CACHE_MISSING", "1ms")]), "each id is read at most once in 2 s"),
    (
        "stampede",
        "with",
        |arm| switch(arm, &[("SINGLE_FLIGHT", "off")]),
        "each replica reads from Postgres at most once",
    ),
    (
        "postgres-kill",
        "killed",
        |arm| switch(arm, &[("CACHE", "off")]),
        "no read of a cached record fails, before, during or after",
    ),
    ("rolling-restart", "rolling", restart_all_at_once, "no GET fails"),
];

fn switch(arm: &mut Arm, variables: &[(&str, &str)]) {
    arm.stack.replicas = 1;
    arm.stack.env.extend(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
}

fn restart_all_at_once(arm: &mut Arm) {
    for step in &mut arm.steps {
        if let Action::Restart(restart) = &mut step.action {
            *restart = Restart::AllAtOnce;
        }
    }
}

fn third(time: &mut Duration) {
    *time /= 3;
}

/// One arm with one hypothesis, named after their experiment.
fn sabotaged(name: &str, case: &str, sabotage: Sabotage, says: &str) -> (Arm, Hypothesis) {
    let experiment = experiments::named(name, Scale::Quick, 1).expect("it is in the list");
    let mut arm = experiment.arms.into_iter().find(|arm| arm.name == case).expect("an arm");
    let mut fitting =
        experiment.hypotheses.into_iter().filter(|hypothesis| hypothesis.arm == case && hypothesis.says == says);
    let mut hypothesis = fitting.next().unwrap_or_else(|| panic!("{name}, {case}: {says}"));
    sabotage(&mut arm);
    let replicas = arm.stack.replicas;
    let is_there = |via: Via| !matches!(via, Via::Replica(number) if number > replicas);
    arm.prepare.retain(|action| !matches!(action, Action::Ask(plan) if !is_there(plan.via)));
    arm.steps.iter_mut().for_each(|step| third(&mut step.at));
    third(&mut arm.load.as_mut().expect("a load").lasts);
    // No hypothesis here is about a probe, and one that waits for a switched-off mechanism would wait in vain.
    arm.probes.clear();
    name.clone_into(&mut arm.name);
    name.clone_into(&mut hypothesis.arm);
    (arm, hypothesis)
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

#[test]
fn a_hypothesis_deviates_when_its_mechanism_is_switched_off() {
    let place = Place::new();
    let (arms, hypotheses) =
        SABOTAGED.map(|(name, case, sabotage, says)| sabotaged(name, case, sabotage, says)).into_iter().unzip();
    let about = About { name: "sabotaged".to_owned(), question: "Does it show?".to_owned(), ..About::default() };
    let file = place.beside("sabotaged.toml");
    fs::write(&file, toml(&Experiment { about, arms, hypotheses })).unwrap();
    let out = place.beside("out");
    // The machine runs other tests at the same time.
    let ended =
        place.lab(&["run", &file.display().to_string(), "--allowance", "200", "--out", &out.display().to_string()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let run = fs::read_dir(out.join("sabotaged")).unwrap().next().expect("a run").unwrap();
    let journal = Journal::read(&run.path().join("journal.ndjson")).unwrap();
    let verdict = verdict::judge(&journal.run().unwrap());
    assert!(verdict.judged.iter().all(|judged| judged.outcome == Outcome::Deviated), "{verdict:#?}");
}
