//! Limits retries to a share of the requests, so that retries do not amplify an overload.

/// The largest number of retries that can be saved up.
const MOST_SAVED: f64 = 10.0;

/// The budget of one worker. Each request adds a share of a retry, each retry takes one.
#[derive(Debug)]
pub(super) struct RetryBudget {
    /// Retries per request; `None`: no limit.
    share: Option<f64>,
    saved: f64,
}

impl RetryBudget {
    pub(super) fn new(share: Option<f64>) -> Self {
        Self { share, saved: 0.0 }
    }

    /// A request was sent for the first time.
    pub(super) fn earn(&mut self) {
        self.saved = (self.saved + self.share.unwrap_or(0.0)).min(MOST_SAVED);
    }

    /// Whether a request may be sent again; if so, takes it from the budget.
    pub(super) fn take(&mut self) -> bool {
        if self.share.is_none() {
            return true;
        }
        let is_enough = self.saved >= 1.0;
        if is_enough {
            self.saved -= 1.0;
        }
        is_enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries(share: Option<f64>, requests: u32, wanted_each: u32) -> u32 {
        let mut budget = RetryBudget::new(share);
        let each = |_| {
            budget.earn();
            (0..wanted_each).filter(|_| budget.take()).count() as u32
        };
        (0..requests).map(each).sum()
    }

    #[test]
    fn a_tenth_of_the_requests_is_retried_and_no_more() {
        assert_eq!(retries(Some(0.1), 1_005, 3), 100);
        assert_eq!(retries(Some(0.0), 1_000, 3), 0);
        assert_eq!(retries(None, 1_000, 3), 3_000);
    }

    #[test]
    fn what_is_saved_in_calm_times_is_bounded() {
        let mut budget = RetryBudget::new(Some(0.5));
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((0..100).filter(|_| budget.take()).count(), 10);
    }
}
