//! How a request's id is chosen: uniformly, sequentially, or with popular ids.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

/// How an id is chosen from the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// All ids are equally likely.
    #[default]
    Uniform,
    /// A few ids are requested most of the time: the k-th id has a weight of 1/k^skew, the lowest ids first.
    Zipf,
    /// From the first to the last, and again.
    Sequence,
}

/// A range of ids, and how to choose from it.
#[derive(Clone, Debug)]
pub struct Ids {
    first: u64,
    count: u64,
    choice: Choice,
}

#[derive(Clone, Debug)]
enum Choice {
    Uniform,
    Zipf(Zipf),
    Sequence,
}

/// Real caches have skews between 0.6 and 1.3. Beyond 10 only the first id is left.
const SKEWS: RangeInclusive<f64> = 0.01..=10.0;

impl Ids {
    /// # Errors
    /// The range is empty or the skew is out of bounds.
    pub fn new(range: RangeInclusive<u64>, pick: Pick, skew: f64) -> Result<Self, String> {
        let (first, last) = range.into_inner();
        if last < first || last - first == u64::MAX {
            return Err(format!("the range {first}..{last} is empty or endless"));
        }
        let count = last - first + 1;
        let choice = match pick {
            Pick::Uniform => Choice::Uniform,
            Pick::Sequence => Choice::Sequence,
            Pick::Zipf if SKEWS.contains(&skew) => Choice::Zipf(Zipf::new(count, skew)),
            Pick::Zipf => {
                return Err(format!("skew must be between {} and {}, not {skew}", SKEWS.start(), SKEWS.end()));
            }
        };
        Ok(Self { first, count, choice })
    }

    /// The id for request number `n` of the run.
    pub(crate) fn pick(&self, n: u64, chance: &mut fastrand::Rng) -> u64 {
        self.first
            + match &self.choice {
                Choice::Uniform => chance.u64(0..self.count),
                Choice::Sequence => n % self.count,
                Choice::Zipf(zipf) => zipf.sample(chance) - 1,
            }
    }
}

/// Zipf's law over 1..=n by rejection-inversion (Hörmann and Derflinger 1996): exact, without a table, with about one
/// try per sample. The integral of 1/x^s, inverted in closed form, covers the weights; samples in the excess are
/// rejected.
#[derive(Clone, Debug)]
struct Zipf {
    n: f64,
    skew: f64,
    area_first: f64,
    area_last: f64,
    /// Below this distance from the rounded position no test is needed.
    sure: f64,
}

impl Zipf {
    fn new(n: u64, skew: f64) -> Self {
        let mut zipf = Self { n: n as f64, skew, area_first: 0.0, area_last: 0.0, sure: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(zipf.n + 0.5);
        zipf.sure = 2.0 - zipf.inverse(zipf.area(2.5) - zipf.weight(2.0));
        zipf
    }

    fn sample(&self, chance: &mut fastrand::Rng) -> u64 {
        loop {
            let area = self.area_last + chance.f64() * (self.area_first - self.area_last);
            let x = self.inverse(area);
            let place = x.round().clamp(1.0, self.n);
            if place - x <= self.sure || area >= self.area(place + 0.5) - self.weight(place) {
                return place as u64;
            }
        }
    }

    fn weight(&self, x: f64) -> f64 {
        (-self.skew * x.ln()).exp()
    }

    /// The integral of the weight; `expm1` and `ln_1p` keep it precise near a skew of 1, where it becomes the
    /// logarithm.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        log * ratio((1.0 - self.skew) * log, f64::exp_m1)
    }

    fn inverse(&self, area: f64) -> f64 {
        let scaled = ((1.0 - self.skew) * area).max(-1.0);
        (area * ratio(scaled, f64::ln_1p)).exp()
    }
}

/// `f(x) / x`, which is 1 at zero for both functions it is used with.
fn ratio(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    if x.abs() > 1e-8 { f(x) / x } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frequencies(ids: &Ids, samples: u64, count: usize) -> Vec<f64> {
        let mut chance = fastrand::Rng::with_seed(3);
        let mut seen = vec![0.0; count];
        for n in 0..samples {
            seen[usize::try_from(ids.pick(n, &mut chance) - ids.first).unwrap()] += 1.0 / samples as f64;
        }
        seen
    }

    #[test]
    fn zipf_follows_its_law_for_skews_below_at_and_above_one() {
        for skew in [0.5, 1.0, 1.2, 3.0] {
            let ids = Ids::new(10..=59, Pick::Zipf, skew).unwrap();
            let seen = frequencies(&ids, 400_000, 50);
            let total: f64 = (1..=50).map(|k| f64::from(k).powf(-skew)).sum();
            for (k, share) in seen.iter().enumerate() {
                let truth = ((k + 1) as f64).powf(-skew) / total;
                assert!((share - truth).abs() < 0.003, "skew {skew}, place {}: {share} instead of {truth}", k + 1);
            }
        }
    }

    #[test]
    fn uniform_and_sequence_cover_the_range() {
        let uniform = frequencies(&Ids::new(1..=10, Pick::Uniform, 1.0).unwrap(), 100_000, 10);
        assert!(uniform.iter().all(|share| (share - 0.1).abs() < 0.005), "{uniform:?}");
        let sequence = Ids::new(5..=7, Pick::Sequence, 1.0).unwrap();
        let mut chance = fastrand::Rng::with_seed(0);
        assert_eq!((0..5).map(|n| sequence.pick(n, &mut chance)).collect::<Vec<_>>(), [5, 6, 7, 5, 6]);
    }

    #[test]
    fn one_id_is_a_range_too_and_nonsense_is_none() {
        let mut chance = fastrand::Rng::with_seed(0);
        for pick in [Pick::Uniform, Pick::Zipf, Pick::Sequence] {
            assert_eq!(Ids::new(9..=9, pick, 1.1).unwrap().pick(3, &mut chance), 9);
        }
        assert!(Ids::new(RangeInclusive::new(2, 1), Pick::Uniform, 1.0).is_err());
        assert!(Ids::new(0..=u64::MAX, Pick::Uniform, 1.0).is_err());
        assert!(Ids::new(1..=9, Pick::Zipf, 0.0).is_err());
        assert!(Ids::new(1..=9, Pick::Zipf, f64::NAN).is_err());
    }
}
