//! The type of a column is changed while it is read and written.

use stack::{FaultKind, Target};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, RequestPlan, Scale},
    hypothesis::{Bound, Measure},
};

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("schema-change", "A column changes its type under load: does a client notice?")
        .expect(
            "Every connection has prepared its statements for the old type. Postgres refuses them from then on \
             (0A000, \"cached plan must not change result type\"), on each connection for as long as it is open. \
             A replica that recognises this prepares the statement again and retries it once. Clients do not \
             notice either change, since the type is also changed back.",
        )
        .change(
            "Recognise this SQLSTATE and retry once with a newly prepared statement. An `ALTER` that rewrites the \
             table takes longer than any request may wait: change such columns in steps.",
        );
    let requests = [
        RequestPlan::get("/data/{id}").named("hot").weight(0.5).holding("body:\"version\":"),
        RequestPlan::get("/data/{cold}").named("cold").weight(0.3),
        RequestPlan::put("/data/{id}").weight(0.2),
    ];
    let outage::Times { breaks, heals, ends } = outage::times(scale);
    let load = LoadPlan::hot_and_cold(outage::RATE, ends, 0.3).asking(requests);
    let (table, column) = ("records".to_owned(), "value".to_owned());
    let arm = Arm::new("altered")
        .load(load)
        .watched("/data/1")
        .at(breaks, Action::fault(Target::Postgres, FaultKind::AlterColumn { table, column, to: "varchar".to_owned() }))
        .at(heals, Action::heal());
    let says = Says("altered");
    let hypotheses = vec![
        says.none_fails("hot", "no read of a cached record fails"),
        says.none_fails("cold", "no read from Postgres fails"),
        says.none_fails("put", "no write fails"),
        says.that("no answer takes longer than 320 ms", "whole", Measure::good(99.0), Bound::at_most(320.0)),
        says.never_wrong("nginx"),
    ];
    Experiment { about, arms: vec![arm], hypotheses }
}
