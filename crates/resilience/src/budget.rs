//! A retry budget: retries may be a fraction of the calls, however many calls fail.
//!
//! # In the order of time
//! The budget starts full. Each first attempt [deposits](Budget::deposit) a fraction of a token; each retry
//! [withdraws](Budget::withdraw) one whole token or is refused with [`BudgetExhausted`]. While all is well the budget is
//! full and a retry is free; in an outage it is empty after `reserve` retries, and from then on the extra load on the
//! failing dependency is at most `ratio`.
//!
//! The scheme is that of retry throttling in gRPC (gRFC A6), with deposits on first attempts instead of on successes:
//! so the bound holds for every sequence of outcomes. There is no clock in it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Thousandths of a retry: the unit in which the balance is kept.
const TOKEN: u64 = 1_000;

/// Shared by all calls to one dependency.
#[derive(Debug)]
pub struct Budget {
    balance: AtomicU64,
    full: u64,
    deposit: u64,
}

/// The budget has no whole token left: do not retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the retry budget is exhausted")]
pub struct BudgetExhausted;

impl Budget {
    /// `reserve` retries may come at once; beyond that, `ratio` (0.0..=1.0) retries per first attempt.
    pub fn new(reserve: u32, ratio: f64) -> Self {
        let full = u64::from(reserve) * TOKEN;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 just before")]
        let deposit = (ratio.clamp(0.0, 1.0) * TOKEN as f64) as u64;
        Self { balance: AtomicU64::new(full), full, deposit }
    }

    /// Counts a first attempt. Costs one load while the budget is full.
    pub fn deposit(&self) {
        if self.balance.load(Ordering::Relaxed) < self.full {
            let add = |balance: u64| Some((balance + self.deposit).min(self.full));
            let _always_some = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        }
    }

    /// Takes one retry out of the budget.
    ///
    /// # Errors
    /// [`BudgetExhausted`] when no whole token is left.
    pub fn withdraw(&self) -> Result<(), BudgetExhausted> {
        let take = |balance: u64| balance.checked_sub(TOKEN);
        self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).map(drop).map_err(|_| BudgetExhausted)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_allows_more_than_it_holds(reserve in 0u32..20, ratio in 0.0f64..1.0, calls in proptest::collection::vec(any::<bool>(), 0..500)) {
            let budget = Budget::new(reserve, ratio);
            let (mut first, mut retries) = (0u32, 0u32);
            for is_retry in calls {
                if is_retry {
                    retries += u32::from(budget.withdraw().is_ok());
                } else {
                    budget.deposit();
                    first += 1;
                }
                prop_assert!(f64::from(retries) <= f64::from(reserve) + ratio * f64::from(first) + 1e-6);
            }
        }
    }

    #[test]
    fn refuses_when_empty_and_fills_up_again() {
        let budget = Budget::new(2, 0.5);
        assert!(budget.withdraw().is_ok() && budget.withdraw().is_ok());
        assert_eq!(budget.withdraw(), Err(BudgetExhausted));
        budget.deposit();
        assert_eq!(budget.withdraw(), Err(BudgetExhausted), "half a token is not a retry");
        budget.deposit();
        assert!(budget.withdraw().is_ok());
    }

    #[test]
    fn holds_under_many_threads() {
        let budget = Budget::new(50, 0.0);
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..8).map(|_| scope.spawn(|| (0..100).filter(|_| budget.withdraw().is_ok()).count())).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 50);
    }
}
