//! Postgres allows two connections, and many requests need one.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{
        About, Action, Arm, Expect, Experiment, LoadPlan, ProbePlan, RequestPlan, Scale, Shape, UNKNOWN, Via,
    },
    hypothesis::{Answers, Bound, Measure},
};

/// The time of a read: at 10 ms two connections are not enough for the load.
const READ: Duration = Duration::from_millis(20);

pub(super) fn experiment(scale: Scale) -> Experiment {
    let all = |percentile| Measure::Latency { of: Answers::All, percentile };
    let about = About::new("connection-starvation", "Postgres allows two connections: who waits, and for how long?")
        .from(
            "000",
            "your-first-system",
            "With only 2 connections, most API server requests wait in a connection queue. Latency spikes from 10ms to seconds. \
             Your API starts timing out. Users see 'connection refused' errors.",
        )
        .expect(
            "A read takes 20 ms, so two connections serve a hundred reads a second, and the load is higher. With \
             a time-out for acquiring a connection, some requests get 503 `database_busy` after 100 ms and the \
             others are answered in time. Without one the queue grows as long as the load lasts, and the latency \
             reaches seconds.",
        )
        .change(
            "Set a time-out for acquiring a connection. Then add connections if the database can take more, or \
             add a cache.",
        )
        .figure("latency with two connections", "seconds", "without", "starved", all(95.0));
    let outage::Times { breaks, heals, ends } = outage::times(scale);
    let slow = FaultKind::Slow { latency: READ, jitter: Duration::ZERO, bandwidth: None };
    let arm = |name: &str, shape| {
        let reads = RequestPlan::get("/data/{cold}").named("cold");
        Arm::new(name)
            .on(shape)
            .prepared([Action::fault(Target::Postgres, slow.clone())])
            .load(LoadPlan::rate(outage::RATE, ends).other("cold", UNKNOWN).asking([reads]).good("2xx,404"))
            .probe(ProbePlan::get("database", Via::Nginx, "/data/{new}").good(Expect::status(&[404])))
            .at(breaks, Action::fault(Target::Postgres, FaultKind::LimitConnections { most: 2 }))
            .at(heals, Action::heal())
            .between("starved", "effect", "undo")
    };
    let raw = Shape::default().with("TIMEOUTS", "off").with("BREAKERS", "off");
    let hypotheses = vec![
        Says("with").that("no answer takes longer than 320 ms", "starved", all(99.0), Bound::at_most(320.0)),
        Says("with").that("some requests succeed", "starved", Measure::Success, Bound::at_least(10.0)),
        Says("with").that("the other requests get 503", "starved", Measure::Failures, Bound::at_least(1.0)),
        Says("with").recovers("database", "requests succeed within 2 s of the recovery"),
        Says("without").that(
            "without time-outs, requests wait for more than a second",
            "starved",
            all(95.0),
            Bound::at_least(1_000.0),
        ),
    ];
    Experiment { about, arms: vec![arm("with", Shape::default()), arm("without", raw)], hypotheses }
}
