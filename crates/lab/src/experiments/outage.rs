//! A dependency becomes unavailable under load and recovers: the common parts of the experiments about one dependency.

use std::time::Duration;

use stack::{FaultKind, Target};

use crate::{
    experiment::{Action, Arm, Expect, LoadPlan, Moment, ProbePlan, Scale, Via},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

/// When the outage begins and ends, and when the load ends, from the start of the load.
pub(super) struct Times {
    pub(super) breaks: Duration,
    pub(super) heals: Duration,
    pub(super) ends: Duration,
}

pub(super) fn times(scale: Scale) -> Times {
    Times { breaks: scale.seconds(2, 15), heals: scale.seconds(5, 40), ends: scale.seconds(8, 60) }
}

/// Requests per second: low enough for a machine with two cores that also runs the stack.
pub(super) const RATE: f64 = 150.0;
/// The share of requests for records that are not cached.
const COLD: f64 = 0.1;

/// Reads of cached and uncached records, with these faults in the middle. The probe `database` requests what only
/// Postgres can answer; the probe `cache` accepts answers from Redis only.
pub(super) fn arm(name: &str, faults: &[(Target, FaultKind)], scale: Scale) -> Arm {
    let Times { breaks, heals, ends } = times(scale);
    let from_redis = Expect::status(&[200]).cache(&["redis; hit"]);
    let mut arm = Arm::new(name)
        .load(LoadPlan::hot_and_cold(RATE, ends, COLD))
        .watched("/data/1")
        .probe(ProbePlan::get("database", Via::Nginx, "/data/{new}").good(Expect::status(&[404])))
        .probe(ProbePlan::get("cache", Via::Nginx, "/data/2").good(from_redis));
    for (target, kind) in faults {
        arm = arm.at(breaks, Action::fault(*target, kind.clone()));
    }
    arm.then(Action::mark("broken")).at(heals, Action::heal()).window(
        "broken",
        Moment::at("broken"),
        // Requests that are waiting at the recovery are answered.
        Moment::before("undo", Duration::from_millis(300)),
    )
}

/// Adds the hypotheses about one arm.
pub(super) struct Says<'a>(pub(super) &'a str);

impl Says<'_> {
    pub(super) fn that(&self, says: &str, window: &str, measure: Measure, bound: Bound) -> Hypothesis {
        Hypothesis::new(says, self.0, window, measure, bound)
    }

    pub(super) fn none_fails(&self, kind: &str, says: &str) -> Hypothesis {
        self.that(says, "whole", Measure::KindFailures(kind.to_owned()), Bound::at_most(0.0))
    }

    pub(super) fn recovers(&self, probe: &str, says: &str) -> Hypothesis {
        self.that(says, "whole", Measure::Recover(probe.to_owned()), Bound::at_most(2.0))
    }

    /// Every refusal is the API's own: nginx sends none.
    pub(super) fn no_gateway_errors(&self) -> [Hypothesis; 2] {
        [502, 504].map(|status| {
            let says = format!("nginx never answers {status} itself");
            self.that(&says, "whole", Measure::Status(status), Bound::at_most(0.0))
        })
    }

    pub(super) fn never_wrong(&self, probe: &str) -> Hypothesis {
        let measure = Measure::WrongOrOlder(probe.to_owned());
        self.that("no answer contains another record or an older version", "whole", measure, Bound::at_most(0.0))
    }
}

/// The hypotheses while Postgres is unavailable: the cache serves what it has, and the rest is refused quickly.
pub(super) fn without_postgres(arm: &str) -> Vec<Hypothesis> {
    let says = Says(arm);
    let of = |kind: &str, of, percentile| Measure::KindLatency { kind: kind.to_owned(), of, percentile };
    let cold = Measure::KindFailures("cold".to_owned());
    let mut all = vec![
        says.none_fails("hot", "no read of a cached record fails, before, during or after"),
        says.that("reads of cached records stay fast", "broken", of("hot", Answers::Good, 95.0), Bound::at_most(50.0)),
        says.that("reads of records that are not cached get 503", "broken", cold, Bound::at_least(1.0)),
        says.that(
            "the 503 is immediate once the breaker is open",
            "broken",
            of("cold", Answers::Bad, 50.0),
            Bound::at_most(10.0),
        ),
        says.that("no 503 takes longer than 300 ms", "broken", of("cold", Answers::Bad, 99.0), Bound::at_most(300.0)),
        says.recovers("database", "Postgres is used again within 2 s of its recovery"),
        says.never_wrong("nginx"),
    ];
    all.extend(says.no_gateway_errors());
    all
}

/// The hypotheses while Redis is unavailable: Postgres serves everything.
pub(super) fn without_redis(arm: &str) -> Vec<Hypothesis> {
    let says = Says(arm);
    vec![
        says.none_fails("hot", "no read of a cached record fails"),
        says.none_fails("cold", "no read of another record fails"),
        says.that("p95 is within the contract", "broken", Measure::good(95.0), Bound::at_most(320.0)),
        says.that("most answers are as fast as before", "broken", Measure::good(50.0), Bound::at_most(20.0)),
        says.recovers("cache", "the cache is used again within 2 s of its recovery"),
        says.never_wrong("nginx"),
    ]
}

/// The source of an experiment about one dependency.
pub(super) const FALLBACK: &str = "If Redis is down the request falls back to the database. If the database is down and the \
    data is in the cache, it is served from the cache. If the data is not cached and the database is down, the request \
    returns 503.";
