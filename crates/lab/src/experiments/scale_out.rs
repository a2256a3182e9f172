//! Compares one replica with three of the same size.

use crate::{
    experiment::{About, Arm, Experiment, Gate, LoadPlan, Pace, Scale, Shape},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

/// A tenth of a core, so that three of them leave enough CPU time for nginx, Postgres and the generator.
const CPUS: f64 = 0.1;
const USERS: usize = 10;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let latency = || Measure::Latency { of: Answers::All, percentile: 50.0 };
    let about = About::new("scale-out", "What do three replicas of the same size buy against one?")
        .from(
            "004",
            "your-first-system",
            "100 requests to a single instance: 1337.42 requests per second, 7.477 ms each. The same to three instances: \
             2179.60 per second, 4.588 ms: 1.6 times the rate.",
        )
        .expect(
            "A stateless service scales with its replicas until something they share is the limit. Here each \
             replica has the same share of a core, and Postgres and nginx have capacity to spare, so the factor \
             is close to three. The notes' 1.6 is what remains when all instances share the same cores, and 100 \
             requests are too few to measure it.",
        )
        .change("Give each replica CPU of its own, and keep state out of it.")
        .figure("requests per second, one instance", "1337", "one-100", "whole", Measure::Goodput)
        .figure("requests per second, three instances", "2180", "three-100", "whole", Measure::Goodput)
        .figure("time per request, one instance", "7.48 ms", "one-100", "whole", latency())
        .figure("time per request, three instances", "4.59 ms", "three-100", "whole", latency());
    let longer = Pace::Users(USERS);
    let notes = Pace::Requests { users: USERS, count: 100 };
    let arms = vec![
        // The longer one runs first: 100 requests end before a tenth of a core has opened its connections.
        arm("one", 1, longer.clone(), scale),
        arm("one-100", 1, notes.clone(), scale),
        arm("three", 3, longer, scale),
        arm("three-100", 3, notes, scale),
    ];
    let one = |says: &str, measure: Measure, bound| Hypothesis::new(says, "three", "whole", measure, bound);
    let hypotheses = vec![
        one(
            "three replicas serve nearly three times the requests",
            Measure::Goodput.ratio_to("one"),
            Bound::at_least(2.7),
        ),
        one("the latency is less than half", latency().ratio_to("one"), Bound::at_most(0.5)),
        one("no request fails", Measure::Failures, Bound::at_most(0.0)),
    ];
    Experiment { about, arms, hypotheses }
}

/// As in the notes, which scaled before they cached.
fn arm(name: &str, replicas: u32, pace: Pace, scale: Scale) -> Arm {
    // 100 requests end before there is a steady state.
    let gate = if matches!(pace, Pace::Requests { .. }) { Gate::Up } else { Gate::Steady };
    Arm::new(name)
        .gate(gate)
        .on(Shape::of(replicas).phase(2).cpus(CPUS))
        .load(LoadPlan::new(pace, scale.seconds(6, 30)).of_ids(1, 1))
}
