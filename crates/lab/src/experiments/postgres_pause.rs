//! Postgres hangs under load, which is worse than a crash, because connections are not refused.

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Experiment, Scale, Shape},
    hypothesis::{Answers, Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("postgres-pause", "What do clients notice when Postgres hangs under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "A hung Postgres accepts connections and answers nothing: only a time-out tells. The first requests pay it \
             (180 ms), then the breaker is open and one request a second and replica pays it for the others. Without \
             time-outs and breakers each of them waits until something else gives up: half a second until the replica's own \
             prober has found out, or nginx' second and then another one on the next replica.",
        )
        .change("A time-out on every call, below that of the caller. Then a breaker, so that not every request pays it.");
    let hang = [(Target::Postgres, FaultKind::Pause)];
    let raw = Shape::default().with("TIMEOUTS", "off").with("BREAKERS", "off");
    let mut hypotheses = outage::without_postgres("with");
    let waits = Measure::KindLatency { kind: "cold".to_owned(), of: Answers::Bad, percentile: 50.0 };
    hypotheses.push(Says("without").that(
        "without time-outs and breakers what is not cached waits for half a second and more",
        "broken",
        waits,
        Bound::at_least(450.0),
    ));
    let arms = vec![outage::arm("with", &hang, scale), outage::arm("without", &hang, scale).on(raw)];
    Experiment { about, arms, hypotheses }
}
