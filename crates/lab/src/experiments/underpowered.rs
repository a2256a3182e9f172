//! A server with half of the required capacity, and the effect of its clients' retries.

use std::time::Duration;

use loadgen::{Retries, Statuses};

use super::outage::Says;
use crate::{
    experiment::{About, Arm, Experiment, Gate, LoadPlan, Moment, Scale, Shape},
    hypothesis::{Bound, Measure},
};

const RATE: f64 = 100.0;
const ATTEMPTS: u32 = 4;
/// One retry for ten requests.
const BUDGET: f64 = 0.1;

pub(super) fn experiment(scale: Scale) -> Experiment {
    let about = About::new("underpowered", "50 requests per second are possible, 100 come: what do clients get?")
        .from(
            "000",
            "your-first-system",
            "With max 50 rps but 100 rps incoming, the server becomes overloaded. 50% of requests fail. Users see errors and \
             slow loading times. In production, this causes a cascading failure as retry storms make things worse.",
        )
        .expect(
            "Half of the requests fail, and fast: a 429 with `Retry-After` costs the server almost nothing. \
             Clients that retry at once, up to three times, do not get more requests through, because the limit \
             stays the same, but the server must refuse two or three times as many. Where a refusal is expensive, \
             that takes the server down. A budget of one retry per ten requests bounds the extra load to a tenth.",
        )
        .change(
            "Add replicas, or reduce the load. In clients, wait as long as `Retry-After` says and use a retry \
             budget (a tenth of the requests), so that an overload does not grow.",
        )
        .figure("requests that succeed", "50 %", "refused", "settled", Measure::Success);
    let arm = |name: &str, retries| {
        let load = LoadPlan { retries, ..LoadPlan::rate(RATE, scale.seconds(6, 30)) };
        let shape = Shape::of(1).with("MAX_RPS", "50");
        // The first second may use the saved-up budget.
        let settled = (Moment::after("start", Duration::from_secs(1)), Moment::at("end"));
        Arm::new(name).on(shape).load(load).gate(Gate::Up).window("settled", settled.0, settled.1)
    };
    let on = Statuses::parse("429,5xx").unwrap_or_default();
    let naive = Retries { attempts: ATTEMPTS, backoff_ms: 0.0, on, budget: None };
    let bounded = Retries { budget: Some(BUDGET), ..naive.clone() };
    let asked = || Measure::Metric("http_requests_total{http_route=\"/data/{id}\"}".to_owned());
    let hypotheses = vec![
        Says("refused").that("half of the requests succeed", "settled", Measure::Success, Bound::between(45.0, 55.0)),
        Says("refused").that(
            "rejected requests are answered within 20 ms",
            "settled",
            Measure::bad(95.0),
            Bound::at_most(20.0),
        ),
        Says("refused").that(
            "accepted requests are answered within 320 ms",
            "settled",
            Measure::good(95.0),
            Bound::at_most(320.0),
        ),
        Says("naive-retries").that(
            "naive retries do not increase the successful requests",
            "settled",
            Measure::Goodput.ratio_to_window("refused", "settled"),
            Bound::between(0.9, 1.1),
        ),
        Says("naive-retries").that(
            "naive retries double the load on the server",
            "whole",
            asked().ratio_to("refused"),
            Bound::at_least(1.6),
        ),
        Says("retry-budget").that(
            "a retry budget adds a tenth to the load",
            "whole",
            asked().ratio_to("refused"),
            Bound::at_most(1.15),
        ),
        Says("retry-budget").that(
            "as many requests succeed with the budget",
            "settled",
            Measure::Goodput.ratio_to_window("refused", "settled"),
            Bound::between(0.9, 1.1),
        ),
    ];
    let arms = vec![arm("refused", None), arm("naive-retries", Some(naive)), arm("retry-budget", Some(bounded))];
    Experiment { about, arms, hypotheses }
}
