//! All replicas are restarted under load: one after the other, or all at once.

use stack::Restart;

use super::outage::{self, Says};
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, ProbePlan, RequestPlan, Scale, Via},
    hypothesis::{Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("rolling-restart", "All replicas are restarted under load: does a client notice?")
        .from(
            "002",
            "incident-response",
            "Rolling recovery preserves availability better than restarting the whole fleet.",
        )
        .expect(
            "A rolling restart is not noticed: each replica announces that it is draining, finishes its requests, \
             and the next one starts to drain when it is back. Restarting all replicas at once is an outage for \
             as long as a start takes.",
        )
        .change(
            "Drain before exiting: fail the readiness check, then send `Connection: close`, then wait for the \
             requests in flight.",
        );
    let arm = |name: &str, restart| {
        let requests =
            [RequestPlan::get("/data/{id}").named("get").weight(0.9), RequestPlan::put("/data/{id}").weight(0.1)];
        Arm::new(name)
            .load(LoadPlan::rate(outage::RATE, scale.seconds(8, 40)).of_ids(1, 100).asking(requests))
            .probe(ProbePlan::get("nginx", Via::Nginx, "/data/101"))
            .named("restart", scale.seconds(1, 10), Action::Restart(restart))
            .between("restarting", "restart.asked", "restart.done")
    };
    let hypotheses = vec![
        Says("rolling").none_fails("get", "no GET fails"),
        Says("rolling").none_fails("put", "no PUT fails"),
        Says("rolling").that("no answer takes longer than 320 ms", "whole", Measure::good(99.0), Bound::at_most(320.0)),
        Says("all-at-once").that(
            "restarting all replicas at once is an outage",
            "restarting",
            Measure::Failures,
            Bound::at_least(1.0),
        ),
    ];
    Experiment {
        about,
        arms: vec![arm("rolling", Restart::Rolling), arm("all-at-once", Restart::AllAtOnce)],
        hypotheses,
    }
}
