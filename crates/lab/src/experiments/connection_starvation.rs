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
            "Reads take 20 ms, so two connections do a hundred of them a second, and more are asked for. With a time-out for the \
             wait some get 503 `database_busy` after 100 ms and the others their answer in time. Without one the queue grows \
             for as long as the load lasts: seconds.",
        )
        .change("A time-out for the wait for a connection. Then connections where the database can bear more, or a cache.")
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
        Says("with").that("nothing hangs", "starved", all(99.0), Bound::at_most(320.0)),
        Says("with").that("some are served", "starved", Measure::Success, Bound::at_least(10.0)),
        Says("with").that("and others refused", "starved", Measure::Failures, Bound::at_least(1.0)),
        Says("with").recovers("database", "two seconds after the return there is one for everybody"),
        Says("without").that(
            "without time-outs requests wait for a second and more",
            "starved",
            all(95.0),
            Bound::at_least(1_000.0),
        ),
    ];
    Experiment { about, arms: vec![arm("with", Shape::default()), arm("without", raw)], hypotheses }
}
