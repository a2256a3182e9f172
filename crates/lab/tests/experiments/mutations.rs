//! A hypothesis that cannot deviate says nothing: each is judged by journals in which all is as it should be, and by others
//! in which requests fail or are late, probes get something else, records go back in time or series grow.

mod journals;
mod reports;

use lab::{
    experiment::{Experiment, Scale},
    experiments,
    hypothesis::{Hypothesis, Measure},
    journal::Entry,
    verdict::{Outcome, judge},
};
use time::format_description::well_known::Rfc3339;

use self::journals::{Answering, Counting, World};

/// The worlds that tell something about a measure.
fn worlds(measure: &Measure) -> Vec<World> {
    let all = World::default();
    // Requests, and bytes.
    let counted = [0.0, 1.0, 1e6, 1e9];
    match measure {
        Measure::Ratio { measure, .. } => {
            let mut paired = Vec::new();
            for here in worlds(measure) {
                for there in worlds(measure) {
                    let there = World { other: Some(Box::new(there)), ..here.clone() };
                    paired.push(there);
                }
            }
            paired
        }
        Measure::Success
        | Measure::Failures
        | Measure::Goodput
        | Measure::Instances
        | Measure::Status(_)
        | Measure::KindFailures(_)
        | Measure::Latency { .. }
        | Measure::KindLatency { .. }
        | Measure::Availability => reports::NAMES.iter().map(|report| World { report, ..all.clone() }).collect(),
        Measure::Metric(_) | Measure::MetricOfOneReplica(_) | Measure::MetricHighest(_) => {
            counted.into_iter().map(|counts| World { counting: Counting(counts), ..all.clone() }).collect()
        }
        Measure::Detect(_)
        | Measure::Recover(_)
        | Measure::Unexpected { .. }
        | Measure::Slowest { .. }
        | Measure::Median { .. }
        | Measure::ProbeAnswers(_)
        | Measure::WrongOrOlder(_)
        | Measure::Behind { .. } => {
            let ways = [Answering::AsExpected, Answering::Otherwise, Answering::Late];
            ways.into_iter().map(|answering| World { answering, ..all.clone() }).collect()
        }
        Measure::PricePerMonth => {
            [3, 4].into_iter().map(|replicas| World { replicas: Some(replicas), ..all.clone() }).collect()
        }
    }
}

fn outcomes(experiment: &Experiment, hypothesis: &Hypothesis) -> Vec<Outcome> {
    let one = Experiment { hypotheses: vec![hypothesis.clone()], ..experiment.clone() };
    let judged = worlds(&hypothesis.measure).into_iter().map(|world| {
        let journal = journals::journal(&one, hypothesis, &world);
        judge(&journal.run().expect("a beginning")).judged[0].outcome
    });
    judged.collect()
}

#[test]
fn every_hypothesis_holds_in_one_world_and_deviates_in_another() {
    if super::variable("RECORD_REPORTS").is_some() {
        reports::record();
    }
    let mut faults = Vec::new();
    let mut judged = 0;
    for experiment in experiments::all(Scale::Quick, 1) {
        for hypothesis in &experiment.hypotheses {
            let outcomes = outcomes(&experiment, hypothesis);
            let place = format!("{}, {}: {}", experiment.about.name, hypothesis.arm, hypothesis.says);
            for wanted in [Outcome::Held, Outcome::Deviated] {
                if !outcomes.contains(&wanted) {
                    faults.push(format!("{place}: never {}, but {outcomes:?}", wanted.as_str()));
                }
            }
            judged += 1;
        }
    }
    assert!(judged > 250, "{judged}");
    assert!(faults.is_empty(), "{} of {judged}:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn an_older_answer_is_excepted_while_redis_is_disturbed_and_a_wrong_one_never() {
    let experiment =
        experiments::all(Scale::Quick, 1).into_iter().find(|one| one.about.name == "random-faults").unwrap();
    let hypothesis =
        experiment.hypotheses.iter().find(|one| matches!(one.measure, Measure::WrongOrOlder(_))).unwrap().clone();
    let judged = |older_at_ms: f64, is_wrong: bool, target: &str, (asked, healed_at): (f64, f64)| {
        let one = Experiment { hypotheses: vec![hypothesis.clone()], ..experiment.clone() };
        let mut journal = journals::journal(&one, &hypothesis, &World::default());
        for entry in &mut journal.entries {
            let Entry::Probe { answers, .. } = entry else { continue };
            let answer = answers.iter_mut().find(|answer| answer.at >= older_at_ms).unwrap();
            (answer.version, answer.wrong) = (Some(1), is_wrong);
        }
        let time = |seconds: f64| serde_json::json!(journals::at(seconds).format(&Rfc3339).unwrap());
        let fault = serde_json::json!({
            "id": 1, "target": target, "kind": "pause", "asked_at": time(asked), "took_effect_at": time(asked),
            "evidence": "", "action": "",
        });
        let healed = serde_json::json!({
            "target": target, "kind": null, "asked_at": time(healed_at), "answered_at": time(healed_at), "action": "",
        });
        for entry in [
            serde_json::json!({ "entry": "healed", "step": "heal", "healed": healed }),
            serde_json::json!({ "entry": "injected", "step": "fault", "fault": fault }),
        ] {
            // In front of the end of the arm and of the run.
            let place = journal.entries.len() - 2;
            journal.entries.insert(place, serde_json::from_value(entry).unwrap());
        }
        let verdict = judge(&journal.run().unwrap());
        verdict.judged[0].outcome
    };
    let during = (0.4, 0.6);
    assert_eq!(judged(500.0, false, "redis", during), Outcome::Held, "while it is paused");
    assert_eq!(judged(300.0, false, "redis", during), Outcome::Deviated, "before it");
    assert_eq!(judged(500.0, false, "postgres", during), Outcome::Deviated, "another server");
    assert_eq!(judged(500.0, true, "redis", during), Outcome::Deviated, "another record");
    let earlier = (-3.4, -3.0);
    assert_eq!(judged(900.0, false, "redis", earlier), Outcome::Held, "3.9 s later");
    assert_eq!(judged(1_100.0, false, "redis", earlier), Outcome::Deviated, "4.1 s later");
}
