//! Redis crashes under load.

use stack::{FaultKind, Target};

use super::outage;
use crate::experiment::{About, Experiment, Scale};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("redis-kill", "What do clients notice when Redis crashes under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "Nothing fails: every read bypasses Redis and goes to Postgres. Refused connections cost almost \
             nothing, and once the breaker is open none are attempted.",
        )
        .change(
            "Treat an error of the cache as a reason to read from the database, never as an error for the client, \
             and never as a 404.",
        );
    Experiment {
        about,
        arms: vec![outage::arm("killed", &[(Target::Redis, FaultKind::Kill)], scale)],
        hypotheses: outage::without_redis("killed"),
    }
}
