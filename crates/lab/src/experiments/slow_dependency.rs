//! Redis or Postgres answers, but late.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::Says;
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, ProbePlan, Scale, Shape, Via},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

const LATENCIES: [u64; 3] = [50, 200, 2_000];

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about =
        About::new("slow-dependency", "Redis or Postgres is slower by 50, 200 or 2,000 ms: what do time-outs buy?")
            .from("001", "", "Latency: distinguish that of successes from that of errors, and look at the tail.")
            .expect(
                "A slow Redis is worse than none, since every request uses it. Calls that take longer than 40 ms time \
             out, and soon the breaker stops them. A Postgres that takes longer than 150 ms cannot be used at \
             all; cached reads are not affected. Without time-outs and breakers each request is as slow as the \
             slowest dependency that it uses.",
            )
            .change(
                "Derive time-outs from how long the caller can wait, not from how long the dependency usually takes.",
            );
    let raw = || Shape::default().with("TIMEOUTS", "off").with("BREAKERS", "off");
    let mut arms = Vec::new();
    for (suffix, shape) in [("", Shape::default()), ("-without", raw())] {
        for target in [Target::Redis, Target::Postgres] {
            let of = |latency| arm(&format!("{target}-{latency}{suffix}"), shape.clone(), target, latency, scale);
            arms.extend(LATENCIES.map(of));
        }
    }
    Experiment { about, arms, hypotheses: hypotheses() }
}

fn arm(name: &str, shape: Shape, target: Target, latency: u64, scale: Scale) -> Arm {
    let slow = || {
        let latency = Duration::from_millis(latency);
        Action::fault(target, FaultKind::Slow { latency, jitter: Duration::ZERO, bandwidth: None })
    };
    Arm::new(name)
        .on(shape)
        // The proxy is inserted before the load, because that restarts the replicas.
        .prepared([slow(), Action::heal()])
        .load(LoadPlan::hot_and_cold(100.0, scale.seconds(5, 30), 0.2))
        .probe(ProbePlan::get("nginx", Via::Nginx, "/data/1"))
        .at(scale.pick(Duration::from_millis(1_500), Duration::from_secs(5)), slow())
        .at(scale.pick(Duration::from_millis(3_800), Duration::from_secs(20)), Action::heal())
        .between("late", "effect", "undo")
}

fn hypotheses() -> Vec<Hypothesis> {
    let mut all = Vec::new();
    for latency in LATENCIES {
        let name = format!("redis-{latency}");
        let says = Says(&name);
        all.push(says.that("no request fails when Redis is slow", "whole", Measure::Failures, Bound::at_most(0.0)));
        all.push(says.that("most answers are as fast as before", "late", Measure::good(50.0), Bound::at_most(20.0)));
        let name = format!("postgres-{latency}");
        let says = Says(&name);
        let hot = Measure::KindLatency { kind: "hot".to_owned(), of: Answers::Good, percentile: 95.0 };
        let every = Measure::Latency { of: Answers::All, percentile: 99.0 };
        all.push(says.none_fails("hot", "no read of a cached record fails when Postgres is slow"));
        all.push(says.that("reads of cached records stay fast", "late", hot, Bound::at_most(50.0)));
        all.push(says.that("the other reads are answered within 320 ms", "late", every, Bound::at_most(320.0)));
    }
    all.push(Says("postgres-50").that(
        "reads succeed when Postgres is 50 ms slower",
        "whole",
        Measure::Success,
        Bound::at_least(99.0),
    ));
    let slow = "without time-outs every request waits for Redis";
    all.push(Says("redis-200-without").that(slow, "late", Measure::good(50.0), Bound::at_least(180.0)));
    all.push(Says("redis-2000-without").that(slow, "late", Measure::Success, Bound::at_most(50.0)));
    let cold = Measure::KindLatency { kind: "cold".to_owned(), of: Answers::Bad, percentile: 50.0 };
    let waits = "without time-outs what is not cached waits for half a second and more";
    all.push(Says("postgres-2000-without").that(waits, "late", cold, Bound::at_least(450.0)));
    all
}
