//! A cache in the process in front of the one in Redis.

use std::time::Duration;

use stack::Target;

use super::outage::Says;
use crate::{
    experiment::{About, Arm, Experiment, LoadPlan, ProbePlan, RequestPlan, Scale, Shape, Via},
    hypothesis::{Bound, Hypothesis, Measure},
};

const REPLICAS: u32 = 3;
/// How long a read may return the previous version, in ms.
const OLD: f64 = 200.0;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("near-cache", "What does a cache in the process buy, and how old may it answer?")
        .from(
            "001",
            "",
            "Caches stand at every layer: in the client, at the edge, in the process, in a store they share.",
        )
        .expect(
            "Hot records come from the replica's own memory, and Redis gets a small part of the requests. Redis \
             reports each change to every replica within milliseconds. If a report is lost, the entry expires by \
             itself, so no read is more than 200 ms behind a write. Without the near cache a read always returns \
             the last acknowledged write.",
        )
        .change(
            "Use it only for data that may be slightly out of date, with a bound on the age and with \
             invalidation.",
        );
    let arm = |name: &str, shape: Shape| {
        let requests =
            [RequestPlan::get("/data/{id}").named("get").weight(0.98), RequestPlan::put("/data/{id}").weight(0.02)];
        let writer =
            ProbePlan { every: Duration::from_millis(150), ..ProbePlan::get("writer", Via::Nginx, "/data/50") };
        let mut arm = Arm::new(name)
            .on(shape)
            .load(LoadPlan::rate(200.0, scale.seconds(6, 30)).of_ids(1, 10).asking(requests))
            .probe(writer.put());
        for replica in 1..=REPLICAS {
            let probe = ProbePlan::get(&Target::Api(replica).to_string(), Via::Replica(replica), "/data/50");
            arm = arm.probe(ProbePlan { every: Duration::from_millis(20), ..probe });
        }
        arm
    };
    let arms = vec![arm("with", Shape::default().with("NEAR_CACHE", "on")), arm("without", Shape::default())];
    Experiment { about, arms, hypotheses: hypotheses() }
}

fn hypotheses() -> Vec<Hypothesis> {
    let asked = Measure::Metric("dependency_request_duration_seconds_count{dependency=\"redis\"}".to_owned());
    let says = Says("with");
    let mut all = vec![
        says.that("Redis gets at most half of the requests", "whole", asked.ratio_to("without"), Bound::at_most(0.5)),
        says.that(
            "answers do not become slower",
            "whole",
            Measure::good(50.0).ratio_to("without"),
            Bound::at_most(1.1),
        ),
        says.that("no request fails", "whole", Measure::Failures, Bound::at_most(0.0)),
    ];
    for replica in 1..=REPLICAS {
        let probe = Target::Api(replica).to_string();
        let behind = || Measure::Behind { probe: probe.clone(), writer: "writer".to_owned() };
        all.push(says.that("no read is more than 200 ms behind a write", "whole", behind(), Bound::at_most(OLD)));
        all.push(says.never_wrong(&probe));
        all.push(Says("without").that(
            "without the near cache no read is behind a write",
            "whole",
            behind(),
            Bound::at_most(0.0),
        ));
    }
    all
}
