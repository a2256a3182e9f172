//! Postgres crashes under load.

use stack::{FaultKind, Target};

use super::outage;
use crate::experiment::{About, Experiment, Scale};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("postgres-kill", "What do clients notice when Postgres crashes under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "Nine of ten requests are for records in the cache: none of them fails. The tenth needs Postgres and gets 503 \
             within a few milliseconds, since connections are refused at once and the breaker opens after five of them.",
        )
        .change("Serve old entries while the database is away (stale-if-error), and put a breaker before it.");
    Experiment {
        about,
        arms: vec![outage::arm("killed", &[(Target::Postgres, FaultKind::Kill)], scale)],
        hypotheses: outage::without_postgres("killed"),
    }
}
