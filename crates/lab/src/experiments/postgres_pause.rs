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
            "A hung Postgres accepts connections and never answers, so only a time-out detects it. The first \
             requests pay for that time-out (180 ms). Then the breaker is open, and one request per second and \
             replica pays. Without time-outs and breakers each request waits until something else gives up: half \
             a second until the replica's prober notices, or nginx's read time-out of one second, and again on \
             the next replica.",
        )
        .change(
            "Set a time-out on every call, shorter than the caller's. Then add a breaker, so that not every \
             request pays for it.",
        );
    let hang = [(Target::Postgres, FaultKind::Pause)];
    let raw = Shape::default().with("TIMEOUTS", "off").with("BREAKERS", "off");
    let mut hypotheses = outage::without_postgres("with");
    let waits = Measure::KindLatency { kind: "cold".to_owned(), of: Answers::Bad, percentile: 50.0 };
    hypotheses.push(Says("without").that(
        "without time-outs and breakers, reads that are not cached wait for at least half a second",
        "broken",
        waits,
        Bound::at_least(450.0),
    ));
    let arms = vec![outage::arm("with", &hang, scale), outage::arm("without", &hang, scale).on(raw)];
    Experiment { about, arms, hypotheses }
}
