//! Compares a hit with a miss.

use stack::{FaultKind, Target};

use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, Scale, Shape},
    hypothesis::{Bound, Hypothesis, Measure},
};

/// The answers that Postgres gave to a replica.
pub(super) const READS: &str = "dependency_request_duration_seconds_count{dependency=\"postgres\"}";
const RECORDS: u64 = 100;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let reads = || Measure::Metric(READS.to_owned());
    let about = About::new("cache", "What does a hit cost against a miss, and how many reads reach Postgres?")
        .from(
            "004",
            "",
            "If the data is not in the cache it is queried from the database and stored; the next request for it is answered \
             by the cache. It reduces the load on the database and the latency.",
        )
        .expect(
            "A hundred records are read thousands of times, and Postgres reads each of them about once per 30 s, \
             whatever the load. An idle Postgres on the same machine is nearly as fast as Redis, so the \
             difference shows in the number of reads that reach Postgres rather than in the latency.",
        )
        .change("Cache what is read often and changes rarely. Measure the hit ratio before and after.");
    let arm = |name: &str, shape| {
        Arm::new(name)
            .on(shape)
            .prepared([Action::fault(Target::Redis, FaultKind::Flush)])
            // Shorter than the 30 s for which an entry is fresh.
            .load(LoadPlan::rate(200.0, scale.seconds(6, 25)).of_ids(1, RECORDS))
    };
    let arms = vec![arm("with", Shape::default()), arm("without", Shape::default().with("CACHE", "off"))];
    let with = |says: &str, measure, bound| Hypothesis::new(says, "with", "whole", measure, bound);
    let spared = Hypothesis::new(
        "without the cache Postgres gets at least eight times the reads",
        "without",
        "whole",
        reads().ratio_to("with"),
        Bound::at_least(8.0),
    );
    let hypotheses = vec![
        with("Postgres reads each record about once", reads(), Bound::at_most(RECORDS as f64 * 1.3)),
        spared,
        with(
            "the median answer is no slower than without the cache",
            Measure::good(50.0).ratio_to("without"),
            Bound::at_most(1.0),
        ),
        with("nothing fails", Measure::Failures, Bound::at_most(0.0)),
    ];
    Experiment { about, arms, hypotheses }
}
