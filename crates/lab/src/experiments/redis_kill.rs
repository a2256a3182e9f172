//! Redis crashes under load.

use stack::{FaultKind, Target};

use super::outage;
use crate::experiment::{About, Experiment, Scale};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("redis-kill", "What do clients notice when Redis crashes under load?")
        .from("004", "", outage::FALLBACK)
        .expect(
            "Nothing fails: every read goes to Postgres, past the cache. Connections are refused at once, so it costs next to \
             nothing, and the breaker spares even that.",
        )
        .change("An error of the cache is a reason to ask the database, never an error for the client and never a 404.");
    Experiment {
        about,
        arms: vec![outage::arm("killed", &[(Target::Redis, FaultKind::Kill)], scale)],
        hypotheses: outage::without_redis("killed"),
    }
}
