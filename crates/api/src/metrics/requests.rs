//! The metrics of one request, found without hashing in a table over method, route and outcome, which are all closed
//! sets.

use std::{array, sync::OnceLock, time::Duration};

use axum::http::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::{middleware::route::Route, problem::Code, routes::operations};

/// Methods with their own label. All others share one label, so that a scanner cannot create new series.
pub(super) const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "_OTHER"];

/// The operations whose series exist from the start, for every way they can end. A counter whose first sample is 100
/// has no rate, so no objective and no alert would count the first errors of an outage. HEAD and OPTIONS of the same
/// routes begin with their first request.
const FROM_THE_START: [(Route, &[&str]); 2] =
    [(Route::Records, &["GET", "POST"]), (Route::Record, &["GET", "PUT", "DELETE"])];

/// The success statuses of this service.
const GOOD: [u16; 4] = [200, 201, 204, 304];

const OUTCOMES: usize = GOOD.len() + <Code as strum::EnumCount>::COUNT;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With a success status.
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

    /// The code; empty on success.
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

/// Every unknown value maps to the last one.
fn method_index(method: &str) -> usize {
    METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1)
}

/// The table. Most cells are created at their first use, so that not every combination is exposed.
#[derive(Debug)]
pub struct RequestMetrics {
    metrics: Metrics,
    cells: [OnceLock<(Histogram, IntCounter)>; METHODS.len() * <Route as strum::EnumCount>::COUNT * OUTCOMES],
}

impl RequestMetrics {
    /// A table with every counter at zero.
    pub fn new(metrics: Metrics) -> Self {
        for reason in ["overloaded", "rate_limited"] {
            metrics.requests_shed.with_label_values(&[reason]);
        }
        let table = Self { metrics, cells: array::from_fn(|_| OnceLock::new()) };
        for (route, methods) in FROM_THE_START {
            for method in methods {
                for outcome in operations::outcomes(route, method) {
                    table.cell(method_index(method), route, outcome);
                }
            }
        }
        table
    }

    /// Counts one request.
    pub fn observe(&self, method: &str, route: Route, outcome: Outcome, duration: Duration) {
        let (histogram, counter) = self.cell(method_index(method), route, outcome);
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
