//! The database fails over: connections end, it is read-only for a while, and then it is as before.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, ProbePlan, RequestPlan, Scale, Via},
    hypothesis::{Answers, Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("failing-over", "The database fails over under load: what do readers and writers notice?")
        .expect(
            "Readers notice nothing: a read whose connection was closed is retried once on a new one. Writers get \
             503 `database_read_only` with `Retry-After` while the database is read-only, and for at most half a \
             second longer, because a replica checks twice a second whether it can write again.",
        )
        .change(
            "Retry reads once, on a new connection. Do not retry writes: answer that nothing was written, so that \
             the client can retry. Close connections to a server that has become read-only.",
        );
    let requests = [
        RequestPlan::get("/data/{id}").named("hot").weight(0.6).holding("body:\"version\":"),
        RequestPlan::get("/data/{cold}").named("cold").weight(0.3),
        RequestPlan::put("/data/{id}").weight(0.1),
    ];
    let outage::Times { breaks, heals, ends } = outage::times(scale);
    let arm = Arm::new("failover")
        .load(LoadPlan::hot_and_cold(outage::RATE, ends, 0.3).asking(requests))
        .watched("/data/1")
        .probe(ProbePlan::get("write", Via::Nginx, "/data/1000").put())
        .at(breaks, Action::fault(Target::Postgres, FaultKind::EndConnections))
        .then(Action::fault(Target::Postgres, FaultKind::ReadOnly))
        .then(Action::mark("read-only"))
        .at(heals, Action::heal())
        // Twice the interval at which each replica asks.
        .at(heals + Duration::from_secs(1), Action::mark("settled"))
        .between("read-only", "read-only", "undo")
        .between("settled", "settled", "end");
    let says = Says("failover");
    let put = || "put".to_owned();
    let refused = Measure::KindLatency { kind: put(), of: Answers::Bad, percentile: 99.0 };
    let hypotheses = vec![
        says.none_fails("hot", "no read of a cached record fails"),
        says.none_fails("cold", "no read from Postgres fails"),
        says.that("no answer takes longer than 320 ms", "whole", Measure::good(99.0), Bound::at_most(320.0)),
        says.that(
            "writes get 503 while the database is read-only",
            "read-only",
            Measure::KindFailures(put()),
            Bound::at_least(1.0),
        ),
        says.that("in time", "read-only", refused, Bound::at_most(300.0)),
        says.recovers("write", "a write succeeds within 2 s of the recovery"),
        says.that(
            "no write fails one second after it is writable again",
            "settled",
            Measure::KindFailures(put()),
            Bound::at_most(0.0),
        ),
        says.never_wrong("nginx"),
    ];
    Experiment { about, arms: vec![arm], hypotheses }
}
