//! A replica crashes: the only one, or one of three.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, Moment, ProbePlan, Scale, Shape, Via},
    hypothesis::{Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("single-instance-crash", "A replica crashes: does a client notice?")
        .from(
            "000",
            "your-first-system",
            "With a single instance, your server is a Single Point of Failure (SPOF). If it crashes, restarts, or needs updates, \
             your entire application goes down. Zero redundancy means zero availability during failures.",
        )
        .expect(
            "A single replica is an outage until it has been started again. With three replicas no client \
             notices: nginx sends the unanswered requests to another replica if they are idempotent.",
        )
        .change(
            "Run at least two replicas behind a load balancer that retries idempotent requests, and keep no state \
             in the process.",
        )
        .figure("availability while it is down", "0 %", "alone", "down", Measure::Success);
    let outage::Times { breaks, heals, ends } = outage::times(scale);
    let arm = |name: &str, replicas| {
        Arm::new(name)
            .on(Shape::of(replicas))
            .load(LoadPlan::rate(outage::RATE, ends).of_ids(1, 100))
            .probe(ProbePlan::get("nginx", Via::Nginx, "/data/1"))
            .at(breaks, Action::fault(Target::Api(1), FaultKind::Kill))
            .at(heals, Action::heal())
            // It is restarted shortly after the request.
            .window("down", Moment::at("effect"), Moment::before("undo", Duration::from_millis(200)))
    };
    let hypotheses = vec![
        Says("alone").that(
            "no request succeeds while the only replica is down",
            "down",
            Measure::Success,
            Bound::at_most(0.0),
        ),
        Says("alone").recovers("nginx", "the replica answers within 2 s of its restart"),
        Says("one-of-three").that("no GET fails", "whole", Measure::Failures, Bound::at_most(0.0)),
        Says("one-of-three").that(
            "no answer takes longer than 320 ms",
            "whole",
            Measure::good(99.0),
            Bound::at_most(320.0),
        ),
    ];
    Experiment { about, arms: vec![arm("alone", 1), arm("one-of-three", 3)], hypotheses }
}
