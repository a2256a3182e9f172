//! Neither Redis nor Postgres answers, under load.

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Experiment, Scale},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("both-down", "What do clients get when neither Redis nor Postgres answers?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "Nothing can be served. Each request gets 503 with `Retry-After` within 300 ms, and within a few \
             milliseconds once the breakers are open. No replica exits and none is taken out of the load \
             balancer. Everything works again two seconds after the dependencies are back.",
        )
        .change(
            "Use a readiness check that does not depend on Postgres or Redis. Otherwise one outage removes every \
             replica.",
        );
    let both = |kind: FaultKind| [(Target::Redis, kind.clone()), (Target::Postgres, kind)];
    Experiment {
        about,
        arms: vec![
            outage::arm("killed", &both(FaultKind::Kill), scale),
            outage::arm("paused", &both(FaultKind::Pause), scale),
        ],
        hypotheses: ["killed", "paused"].into_iter().flat_map(hypotheses).collect(),
    }
}

fn hypotheses(arm: &str) -> Vec<Hypothesis> {
    let says = Says(arm);
    let all = |percentile| Measure::Latency { of: Answers::All, percentile };
    let mut all = vec![
        says.that("no request succeeds", "broken", Measure::Success, Bound::at_most(0.0)),
        says.that("no answer takes longer than 300 ms", "broken", all(99.0), Bound::at_most(300.0)),
        says.that("most answers come within 20 ms", "broken", all(50.0), Bound::at_most(20.0)),
        says.recovers("database", "Postgres is used again within 2 s of its recovery"),
        says.recovers("cache", "the cache is used again within 2 s of its recovery"),
        says.never_wrong("nginx"),
    ];
    all.extend(says.no_gateway_errors());
    all
}
