//! A hypothesis that cannot deviate says nothing: each is judged by journals in which all is as it should be, and by others
//! in which requests fail or are late, probes get something else, records go back in time or series grow.

mod journals;
mod reports;

use lab::{
    experiment::{Experiment, Scale},
    experiments,
    hypothesis::{Hypothesis, Measure},
    verdict::{Outcome, judge},
};

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
