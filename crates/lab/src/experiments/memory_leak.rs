//! A replica leaks memory: it runs until the kernel kills it, or is restarted before, because of its memory use.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{
        About, Action, Arm, AwaitPlan, Condition, Experiment, LoadPlan, Moment, ProbePlan, Scale, Shape, Via,
    },
    hypothesis::{Bound, Hypothesis, Measure},
};

const LEAKING: Target = Target::Api(2);
const MEGABYTE: u64 = 1 << 20;
const LIMIT: u64 = 160 * MEGABYTE;
/// A healthy replica uses less than a third of it.
const SUSPICIOUS: u64 = 96 * MEGABYTE;
const RESIDENT: &str = "process_resident_memory_bytes";

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("memory-leak", "A replica leaks memory until it is killed: does a client notice, and what is to be done?")
        .from(
            "002",
            "incident-response",
            "Triage production incidents; handle memory leaks. Rolling recovery preserves availability better than restarting \
             the whole fleet.",
        )
        .expect(
            "The kernel kills the replica at its memory limit, in the middle of its work. nginx sends idempotent \
             requests to another replica, so no GET fails. The replica is started again and leaks again. Its \
             metrics show which replica leaks long before that: a rolling restart at that point fails no request, \
             and memory is back to its initial value.",
        )
        .change(
            "Set a memory limit per replica, alert on memory that only grows, and use rolling restarts until the \
             cause is found.",
        );
    let arms = vec![killed(scale), restarted(scale)];
    Experiment { about, arms, hypotheses: hypotheses() }
}

/// The replicas accept faults from the start; otherwise they would be restarted under load to enable them.
fn arm(name: &str, scale: Scale) -> Arm {
    let rate = scale.pick(60, 8) * MEGABYTE;
    Arm::new(name)
        .on(Shape::default().with("LAB_FAULTS", "on"))
        .load(LoadPlan::rate(outage::RATE, scale.seconds(9, 60)).of_ids(1, 100))
        .probe(ProbePlan::get("nginx", Via::Nginx, "/data/1"))
        .probe(ProbePlan::get("leaking", Via::Replica(2), "/data/1"))
        .at(scale.seconds(1, 5), Action::fault(LEAKING, FaultKind::Leak { rate, limit: LIMIT }))
}

fn killed(scale: Scale) -> Arm {
    let within = scale.seconds(10, 40);
    arm("left-alone", scale)
        .then(Action::Await(AwaitPlan { until: Condition::Ended { target: LEAKING }, within, or_go_on: false }))
        .then(Action::mark("killed"))
        .then(Action::Wait(Duration::from_millis(500)))
        .then(Action::heal())
}

fn restarted(scale: Scale) -> Arm {
    let until = Condition::Metric { replica: LEAKING, series: RESIDENT.to_owned(), at_least: SUSPICIOUS as f64 };
    let within = scale.seconds(10, 40);
    arm("found-in-time", scale)
        .then(Action::Await(AwaitPlan { until, within, or_go_on: false }))
        .then(Action::mark("found"))
        .then(Action::rolling_restart())
        .then(Action::mark("restarted"))
        .then(Action::heal())
        .window("leaking", Moment::at("effect"), Moment::after("found", Duration::from_millis(300)))
        .between("restarted", "restarted", "end")
}

fn hypotheses() -> Vec<Hypothesis> {
    let memory = || Measure::MetricHighest(RESIDENT.to_owned());
    let (alone, found) = (Says("left-alone"), Says("found-in-time"));
    vec![
        alone.that("no GET fails when the replica is killed", "whole", Measure::Failures, Bound::at_most(0.0)),
        alone.recovers("leaking", "the replica answers within 2 s of its restart"),
        found.that(
            "the metrics show which replica leaks",
            "leaking",
            memory(),
            Bound::at_least(SUSPICIOUS as f64 * 0.7),
        ),
        found.that("no request fails during the rolling restart", "whole", Measure::Failures, Bound::at_most(0.0)),
        found.that("no answer takes longer than 320 ms", "whole", Measure::good(99.0), Bound::at_most(320.0)),
        found.that(
            "the memory is back to normal after the restart",
            "restarted",
            memory(),
            Bound::at_most(SUSPICIOUS as f64),
        ),
    ]
}
