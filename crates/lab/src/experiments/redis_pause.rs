//! Redis hangs under load.

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Experiment, Scale, Shape},
    hypothesis::{Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("redis-pause", "What do clients notice when Redis hangs under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "The first requests make two attempts of 40 ms and then read from Postgres, so they take 80 ms \
             longer. Then the breaker is open, and requests take as long as without a cache. Without time-outs \
             and breakers every request waits for Redis until nginx gives up: the cache takes the whole service \
             down.",
        )
        .change("Set a time-out for the cache far below that of the request, and add a breaker.");
    let hang = [(Target::Redis, FaultKind::Pause)];
    let raw = Shape::default().with("TIMEOUTS", "off").with("BREAKERS", "off");
    let mut hypotheses = outage::without_redis("with");
    hypotheses.push(Says("without").that(
        "without time-outs and breakers, a hung cache makes requests fail",
        "broken",
        Measure::Goodput.ratio_to_window("with", "broken"),
        Bound::at_most(0.9),
    ));
    let arms = vec![outage::arm("with", &hang, scale), outage::arm("without", &hang, scale).on(raw)];
    Experiment { about, arms, hypotheses }
}
