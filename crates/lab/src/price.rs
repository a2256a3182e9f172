//! The price of a topology per month, by the price file.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::experiment::Shape;

/// $ per month.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    /// One replica of the API.
    server: f64,
    postgres: f64,
    redis: f64,
    load_balancer: f64,
}

#[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
static PRICES: LazyLock<Prices> =
    LazyLock::new(|| toml::from_str(include_str!("../prices.toml")).expect("a price file with every price"));

/// The price of a stack of this shape, in $ per month.
#[must_use]
pub(crate) fn per_month(shape: &Shape) -> f64 {
    let prices = *PRICES;
    f64::from(shape.replicas) * prices.server + prices.postgres + prices.redis + prices.load_balancer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_replicas_fit_the_budget_of_the_lesson_and_four_do_not() {
        assert!(per_month(&Shape::of(3)) <= 760.0);
        assert!(per_month(&Shape::of(4)) > 760.0);
    }
}
