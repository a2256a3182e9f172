//! The stages of the app in the notes, each with Postgres killed under load.

use stack::{FaultKind, Target};

use super::outage::Says;
use crate::{
    experiment::{About, Action, Arm, Expect, Experiment, LoadPlan, ProbePlan, Scale, Shape, Via},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

const NAMES: [(&str, u8); 4] = [("raw", 1), ("scaled", 2), ("cached", 3), ("protected", 4)];

pub(super) fn experiment(scale: Scale) -> Experiment {
    let bad = || Measure::Latency { of: Answers::Bad, percentile: 50.0 };
    let about = About::new("phases", "What does each phase of the app answer when Postgres dies?")
        .from(
            "004",
            "your-first-system",
            "Phase 1: 500 Internal Server Error after 19 ms, the database connection is closed. Phase 2 has three instances \
             and a load balancer, phase 3 a cache, phase 4 time-outs, two attempts on Redis and 100 requests in flight: if the \
             data is cached it is served, else the answer is 503.",
        )
        .expect(
            "More replicas do not help when the database is down: all of them fail. A cache helps for the entries \
             that are in it and still fresh. Time-outs bound how long the other requests wait for their error.",
        )
        .change("Find the dependency that every request needs, and what can be answered without it.")
        .figure("a request while Postgres is down", "500 after 19 ms", "raw", "broken", bad())
        .figure("the same, protected", "503", "protected", "broken", bad());
    Experiment {
        about,
        arms: NAMES.iter().map(|(name, phase)| arm(name, *phase, scale)).collect(),
        hypotheses: hypotheses(),
    }
}

fn arm(name: &str, phase: u8, scale: Scale) -> Arm {
    // The notes scaled after phase 1. Everything fits into the 30 s for which an entry is fresh.
    let replicas = if phase == 1 { 1 } else { 3 };
    Arm::new(name)
        .on(Shape::of(replicas).phase(phase))
        .prepared([Action::fault(Target::Redis, FaultKind::Flush)])
        .load(LoadPlan::hot_and_cold(100.0, scale.seconds(6, 25), 0.2))
        .watched("/data/1")
        .probe(ProbePlan::get("database", Via::Nginx, "/data/{new}").good(Expect::status(&[404])))
        .at(scale.seconds(2, 8), Action::fault(Target::Postgres, FaultKind::Kill))
        .then(Action::mark("broken"))
        .at(scale.seconds(4, 18), Action::heal())
        .between("broken", "broken", "undo")
}

fn hypotheses() -> Vec<Hypothesis> {
    let mut all = Vec::new();
    for (name, phase) in NAMES {
        let says = Says(name);
        let failures = |kind: &str| Measure::KindFailures(kind.to_owned());
        if phase < 3 {
            all.push(says.that("without a cache every request fails", "broken", Measure::Success, Bound::at_most(0.0)));
        } else {
            all.push(says.that("reads of cached records succeed", "broken", failures("hot"), Bound::at_most(0.0)));
            all.push(says.that(
                "reads of records that are not cached get 503",
                "broken",
                failures("cold"),
                Bound::at_least(1.0),
            ));
        }
        let bad = Measure::Latency { of: Answers::Bad, percentile: 99.0 };
        all.push(says.that("errors are returned within 300 ms", "broken", bad, Bound::at_most(300.0)));
        all.push(says.recovers("database", "Postgres is used again within 2 s of its recovery"));
    }
    all
}
