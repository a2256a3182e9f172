//! More requests than can be served: which are refused, how fast, and the effect on the others.

use std::time::Duration;

use stack::{FaultKind, Target};

use super::outage::Says;
use crate::{
    experiment::{About, Action, Arm, Experiment, Gate, LoadPlan, Pace, Scale, Shape},
    hypothesis::{Bound, Hypothesis, Measure},
};

/// Requests in flight: enough for two seconds of the load without an answer.
const CONNECTIONS_OPEN: usize = 4_000;
/// The time of a read. Each replica runs two at a time, so that a small machine can exceed the capacity ten times.
const READ: Duration = Duration::from_millis(20);
const CONNECTIONS: &str = "2";
/// Corresponds to 100 for reads of 2 ms and ten connections: no accepted request waits for more than one before it.
const IN_FLIGHT: &str = "4";
const FACTORS: [(&str, f64); 3] = [("twice", 2.0), ("five-times", 5.0), ("ten-times", 10.0)];

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("backpressure", "What goodput remains at 2, 5 and 10 times the capacity?")
        .from("004", "", "Backpressure: only 100 concurrent requests are allowed to the service; more are pushed back.")
        .expect(
            "A request that arrives at the limit is refused at once, which costs almost nothing. The accepted \
             requests get the whole capacity, and none of them waits long. Without a limit every request is \
             accepted: those that fail in the end have waited first, and without time-outs requests are still \
             processed after their clients have given up.",
        )
        .change(
            "Limit the requests in flight and refuse the rest at once. The limit must be small enough that \
             accepted requests meet their deadline, and must stand in front of all expensive work.",
        );
    let shape = || {
        let shape = Shape::default().with("CACHE", "off").with("DB_MAX_CONNECTIONS", CONNECTIONS);
        shape.with("CONCURRENCY_LIMIT", IN_FLIGHT)
    };
    let slow = FaultKind::Slow { latency: READ, jitter: Duration::ZERO, bandwidth: None };
    let arm = |name: &str, shape, pace| {
        let connections = if matches!(pace, Pace::Users(_)) { None } else { Some(CONNECTIONS_OPEN) };
        let load = LoadPlan { connections, ..LoadPlan::new(pace, scale.seconds(5, 30)) };
        let arm = Arm::new(name).on(shape).load(load).gate(Gate::Up);
        arm.prepared([Action::fault(Target::Postgres, slow.clone())])
    };
    let times = |factor| Pace::Times { factor, of: "capacity".to_owned() };
    let mut arms = vec![arm("capacity", shape(), Pace::Users(9))];
    arms.extend(FACTORS.map(|(name, factor)| arm(name, shape(), times(factor))));
    let unlimited = shape().with("CONCURRENCY_LIMIT", "off").with("BREAKERS", "off");
    arms.push(arm("no-limit", unlimited.clone(), times(5.0)));
    arms.push(arm("no-limit-no-timeouts", unlimited.with("TIMEOUTS", "off"), times(2.0)));
    Experiment { about, arms, hypotheses: hypotheses() }
}

fn hypotheses() -> Vec<Hypothesis> {
    let goodput = || Measure::Goodput.ratio_to("capacity");
    let mut all = Vec::new();
    for (name, factor) in FACTORS {
        let one = |says: &str, measure, bound| Says(name).that(says, "whole", measure, bound);
        all.push(one(&format!("at {factor} times the capacity, it is all used"), goodput(), Bound::at_least(0.9)));
        all.push(one("rejected requests are answered within 10 ms", Measure::bad(99.0), Bound::at_most(10.0)));
        all.push(one("accepted requests are answered within 320 ms", Measure::good(95.0), Bound::at_most(320.0)));
    }
    let late = Says("no-limit").that(
        "without the limit, requests wait before they fail",
        "whole",
        Measure::bad(50.0),
        Bound::at_least(80.0),
    );
    let collapse = Says("no-limit-no-timeouts").that(
        "without limit and time-outs, most answers come too late for their clients",
        "whole",
        goodput(),
        Bound::at_most(0.6),
    );
    all.extend([late, collapse]);
    all
}
