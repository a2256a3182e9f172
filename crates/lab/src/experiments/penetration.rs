//! A flood of ids that do not exist, so that no cache has them.

use super::{cache::READS, outage::Says};
use crate::{
    experiment::{About, Arm, Experiment, LoadPlan, Scale, Shape, UNKNOWN},
    hypothesis::{Bound, Measure},
};

const RATE: f64 = 200.0;
const IDS: u64 = 20;
/// How long the cache remembers that an id does not exist, in s.
const REMEMBERED: u64 = 2;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let lasts = scale.seconds(6, 30);
    let about = About::new("penetration", "A flood of ids that do not exist: how many reads reach Postgres?")
        .from(
            "001",
            "",
            "Clients repeatedly query keys that don't exist in cache or DB (malicious or buggy). Every request falls through to \
             the DB. Mitigation: a Bloom filter.",
        )
        .expect(
            "The absence of an id is cached for 2 s like a record, so each id is read at most once in that time, \
             however often it is requested. Without this, every request reads from Postgres. Neither helps \
             against ids that are never repeated; a limit per client does (nginx has one).",
        )
        .change("Cache missing ids for a short time. Unlike a Bloom filter, this needs no copy of the table's ids.");
    let arm = |name: &str, shape| {
        let load = LoadPlan::rate(RATE, lasts).of_ids(UNKNOWN[0], UNKNOWN[0] + IDS - 1).good("404");
        Arm::new(name).on(shape).load(load)
    };
    // This cache cannot be switched off, but its entries can expire at once.
    let forgetful = Shape::default().with("CACHE_MISSING", "1ms");
    let reads = || Measure::Metric(READS.to_owned());
    let most = IDS * (lasts.as_secs() / REMEMBERED + 1);
    let requests = RATE * lasts.as_secs_f64();
    let hypotheses = vec![
        Says("with").that("each id is read at most once in 2 s", "whole", reads(), Bound::at_most(most as f64)),
        Says("with").that("every answer is 404", "whole", Measure::Failures, Bound::at_most(0.0)),
        Says("without").that(
            "without the cache nearly every request reads from Postgres",
            "whole",
            reads(),
            Bound::at_least(requests * 0.7),
        ),
    ];
    Experiment { about, arms: vec![arm("with", Shape::default()), arm("without", forgetful)], hypotheses }
}
