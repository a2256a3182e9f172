//! One popular entry has expired, and many clients request it at the same time.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::{cache::READS, outage::Says};
use crate::{
    experiment::Expect,
    experiment::{About, Action, Arm, Experiment, LoadPlan, Moment, Scale, Shape, Via},
    hypothesis::{Bound, Measure},
};

/// A slow read, like that of a busy database.
const READ: Duration = Duration::from_millis(50);
const RATE: f64 = 300.0;
const REPLICAS: u32 = 3;
/// Above every id.
const NO_RECORD: u64 = 9_000_000_000;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("stampede", "A hot key expires under load: how many reads reach Postgres?")
        .from(
            "001",
            "",
            "When a popular cache key expires simultaneously for many concurrent requests, they all miss and hammer the database \
             at once. Mutex / single-flight: only one request fetches from DB; others wait for the cached result.",
        )
        .expect(
            "There are 300 requests a second for one record and a read takes 50 ms, so about a dozen requests \
             arrive before the first is answered. With single flight each replica reads once and the other \
             requests share the result. Without it each of them reads from Postgres.",
        )
        .change(
            "Allow one read per key and process at a time, and serve the expired entry while one request \
             refreshes it.",
        );
    let slow = FaultKind::Slow { latency: READ, jitter: Duration::ZERO, bandwidth: None };
    let arm = |name: &str, shape| {
        Arm::new(name)
            .on(shape)
            .prepared([Action::fault(Target::Postgres, slow.clone())])
            // A connection takes several round trips of the slow network, which is longer than a request waits for one. The
            // subject is not that wait: every replica has a connection before the load starts.
            .prepared((1..=REPLICAS).map(|replica| {
                let path = format!("/data/{}", NO_RECORD + u64::from(replica));
                Action::ask(Via::Replica(replica), &path, Expect::status(&[404]))
            }))
            .prepared([Action::ask(Via::Nginx, "/data/1", Expect::status(&[200]).cache(&["redis; hit"]))])
            // Shorter than the 30 s for which the entry is fresh.
            .load(LoadPlan::rate(RATE, scale.seconds(5, 20)).of_ids(1, 1))
            .named("flush", scale.seconds(2, 10), Action::fault(Target::Redis, FaultKind::Flush))
            .window("expired", Moment::at("flush.asked"), Moment::after("flush.done", Duration::from_secs(2)))
    };
    let single = Shape::default().with("SINGLE_FLIGHT", "off");
    let reads = || Measure::MetricOfOneReplica(READS.to_owned());
    let hypotheses = vec![
        Says("with").that("each replica reads from Postgres at most once", "expired", reads(), Bound::at_most(1.0)),
        Says("with").that("no request fails", "whole", Measure::Failures, Bound::at_most(0.0)),
        Says("without").that(
            "without single flight, replicas read more than once",
            "expired",
            reads(),
            Bound::at_least(2.0),
        ),
    ];
    Experiment { about, arms: vec![arm("with", Shape::default()), arm("without", single)], hypotheses }
}
