//! A retry budget: retries are at most a fraction of the calls, however many calls fail.
//!
//! # In the order of time
//! The budget starts full. Each call that was sent [deposits](Budget::deposit) a fraction of a token; each retry
//! [withdraws](Budget::withdraw) one whole [`Token`] or is refused with [`BudgetExhausted`]. The token is
//! [spent](Token::spend) when the retry is sent; a token dropped before that is returned. In normal operation the
//! budget is full and a retry costs nothing. In an outage it is empty after `reserve` retries, and from then on the
//! extra load on the failing dependency is at most `ratio` of the load of the calls themselves.
//!
//! The scheme is gRPC's retry throttling (gRFC A6), with deposits on calls instead of on successes, so that the bound
//! holds for every sequence of outcomes. It uses no clock.

use std::sync::atomic::{AtomicU64, Ordering};

/// A token in thousandths of a retry: the unit in which the balance is kept.
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

/// Permission for one retry, taken from the budget; dropping it returns it.
#[derive(Debug)]
#[must_use = "dropping the token returns it to the budget"]
pub struct Token<'a>(&'a Budget);

impl Budget {
    /// `reserve` retries are allowed at once; beyond that, `ratio` (0.0..=1.0) retries per call that was sent.
    pub fn new(reserve: u32, ratio: f64) -> Self {
        let full = u64::from(reserve) * TOKEN;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=1000 just before")]
        let deposit = (ratio.clamp(0.0, 1.0) * TOKEN as f64) as u64;
        Self { balance: AtomicU64::new(full), full, deposit }
    }

    /// Counts a call that was sent. Costs one atomic load while the budget is full.
    pub fn deposit(&self) {
        if self.balance.load(Ordering::Relaxed) < self.full {
            self.add(self.deposit);
        }
    }

    /// Takes one retry from the budget.
    ///
    /// # Errors
    /// [`BudgetExhausted`] when no whole token is left.
    pub fn withdraw(&self) -> Result<Token<'_>, BudgetExhausted> {
        let take = |balance: u64| balance.checked_sub(TOKEN);
        let taken = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map(|_| Token(self)).map_err(|_| BudgetExhausted)
    }

    /// Returns a spent token: the retry was not sent after all.
    pub(crate) fn put_back(&self) {
        self.add(TOKEN);
    }

    /// The budget never holds more than its reserve; any excess is dropped.
    fn add(&self, amount: u64) {
        let add = |balance: u64| Some((balance + amount).min(self.full));
        let _always_some = self.balance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl Token<'_> {
    /// Marks the retry as sent.
    pub fn spend(self) {
        std::mem::forget(self);
    }
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        self.0.put_back();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_allows_more_than_it_holds(reserve in 0u32..20, ratio in 0.0f64..1.0, steps in proptest::collection::vec(0u8..4, 0..500)) {
            let budget = Budget::new(reserve, ratio);
            let (mut sent, mut retries, mut held) = (0u32, 0u32, Vec::new());
            for step in steps {
                match step {
                    0 => { budget.deposit(); sent += 1; }
                    1 => held.extend(budget.withdraw()),
                    2 => if let Some(token) = held.pop() { token.spend(); retries += 1; },
                    _ => drop(held.pop()),
                }
                let granted = f64::from(retries) + held.len() as f64;
                prop_assert!(granted <= f64::from(reserve) + ratio * f64::from(sent) + 1e-6);
            }
        }

        #[test]
        fn a_token_that_was_not_spent_can_be_withdrawn_again(reserve in 1u32..20) {
            let budget = Budget::new(reserve, 0.0);
            for _ in 0..3 {
                let tokens: Vec<_> = (0..reserve).map(|_| budget.withdraw().expect("a token is left")).collect();
                prop_assert!(budget.withdraw().is_err());
                drop(tokens);
            }
        }
    }

    #[test]
    fn refuses_when_empty_and_refills() {
        let budget = Budget::new(2, 0.5);
        for _ in 0..2 {
            budget.withdraw().expect("the reserve").spend();
        }
        assert!(budget.withdraw().is_err());
        budget.deposit();
        assert!(budget.withdraw().is_err(), "half a token is not a retry");
        budget.deposit();
        assert!(budget.withdraw().is_ok());
    }

    #[test]
    fn holds_under_many_threads() {
        let budget = Budget::new(50, 0.0);
        let take = || (0..100).filter_map(|_| budget.withdraw().ok()).map(Token::spend).count();
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(take)).collect();
            workers.into_iter().map(|worker| worker.join().expect("no panic")).sum()
        });
        assert_eq!(taken, 50);
    }
}
