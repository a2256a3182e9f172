//! The metrics of one request, found without hashing: a table over method, route and outcome, all three closed sets.

use std::{array, sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::{middleware::route::Route, problem::Code};

/// Methods with a label of their own; everything else is one label, or a scanner makes series without end.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "_OTHER"];

/// How the reads of records end that an alert asks for. Their series are there from the start: a counter whose first sample
/// is 100 has no rate, and the first errors of an outage would not be seen.
const ALERTED: [Outcome; 10] = [
    Outcome::Good(StatusCode::OK),
    Outcome::Problem(Code::NotFound),
    Outcome::Problem(Code::Internal),
    Outcome::Problem(Code::Overloaded),
    Outcome::Problem(Code::DatabaseUnavailable),
    Outcome::Problem(Code::DatabaseNotAsked),
    Outcome::Problem(Code::DatabaseBusy),
    Outcome::Problem(Code::DatabaseTimeout),
    Outcome::Problem(Code::DeadlineExceeded),
    Outcome::Problem(Code::Draining),
];

/// Good statuses this service gives.
const GOOD: [u16; 4] = [200, 201, 204, 304];

const OUTCOMES: usize = GOOD.len() + <Code as strum::EnumCount>::COUNT;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a good status.
    Good(StatusCode),
    /// With a problem.
    Problem(Code),
}

impl Outcome {
    /// The status that was sent.
    pub fn status(self) -> u16 {
        match self {
            Self::Good(status) => status.as_u16(),
            Self::Problem(code) => code.status(),
        }
    }

    /// The code, empty when all went well.
    pub fn code(self) -> &'static str {
        match self {
            Self::Good(_) => "",
            Self::Problem(code) => code.as_str(),
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Good(status) => GOOD.iter().position(|good| *good == status.as_u16()).unwrap_or(0),
            Self::Problem(code) => GOOD.len() + code as usize,
        }
    }
}

/// The table. Most cells are made at their first use, so that not every combination is exposed.
#[derive(Debug)]
pub struct RequestMetrics {
    metrics: Metrics,
    cells: [OnceLock<(Histogram, IntCounter)>; METHODS.len() * <Route as strum::EnumCount>::COUNT * OUTCOMES],
}

impl RequestMetrics {
    /// A table of zeros.
    pub fn new(metrics: Metrics) -> Self {
        for reason in ["overloaded", "rate_limited"] {
            metrics.requests_shed.with_label_values(&[reason]);
        }
        let table = Self { metrics, cells: array::from_fn(|_| OnceLock::new()) };
        for route in [Route::Records, Route::Record] {
            for outcome in ALERTED {
                table.cell(0, route, outcome);
            }
        }
        table
    }

    /// Counts one request.
    pub fn observe(&self, method: &Method, route: Route, outcome: Outcome, duration: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        let (histogram, counter) = self.cell(method, route, outcome);
        histogram.observe(duration.as_secs_f64());
        counter.inc();
    }

    fn cell(&self, method: usize, route: Route, outcome: Outcome) -> &(Histogram, IntCounter) {
        let index = (method * <Route as strum::EnumCount>::COUNT + route as usize) * OUTCOMES + outcome.index();
        self.cells[index].get_or_init(|| {
            let status = outcome.status().to_string();
            let labels = [METHODS[method], route.as_str(), &status, outcome.code()];
            let histogram = self.metrics.request_duration.with_label_values(&labels[..3]);
            (histogram, self.metrics.requests.with_label_values(&labels))
        })
    }
}
