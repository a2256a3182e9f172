//! Postgres crashes under load.

use stack::{FaultKind, Target};

use super::outage;
use crate::experiment::{About, Experiment, Scale};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("postgres-kill", "What do clients notice when Postgres crashes under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "Nine out of ten requests are for cached records, and none of them fails. The others need Postgres \
             and get 503 within a few milliseconds, because connections are refused at once and the breaker opens \
             after five failures.",
        )
        .change(
            "Serve expired entries while the database is down (stale-if-error), and put a breaker in front of the \
             database.",
        );
    Experiment {
        about,
        arms: vec![outage::arm("killed", &[(Target::Postgres, FaultKind::Kill)], scale)],
        hypotheses: outage::without_postgres("killed"),
    }
}
