//! The statistics that measurements need: medians, exact rank tests and intervals.
//!
//! Rank tests assume nothing about the distribution of the values (latencies are not normally distributed), and they
//! are exact for small numbers of runs.

/// The median, minimum and maximum of some values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// `None` if there are no values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let (below, above) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Some(Self { median: f64::midpoint(below, above), min, max })
    }
}

/// The median: the mean of the two middle values if their number is even. `None` if there are no values.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    Spread::of(values).map(|spread| spread.median)
}

/// Up to this number of permutations, all are enumerated.
const MAX_DEALS: f64 = 200_000.0;

/// The two-sided p-value of a rank sum, if both sides have the same distribution (Mann and Whitney).
#[must_use]
pub fn rank_sum_p(base: &[f64], new: &[f64]) -> f64 {
    if base.is_empty() || new.is_empty() {
        return 1.0;
    }
    let all: Vec<f64> = base.iter().chain(new).copied().collect();
    let ranks = doubled_ranks(&all);
    let observed: u64 = ranks[..base.len()].iter().sum();
    let total: u64 = ranks.iter().sum();
    // Doubled twice, so that the median is an integer too.
    let from_middle = |sum: u64| (sum * ranks.len() as u64).abs_diff(total * base.len() as u64);
    if deals(ranks.len(), base.len()) > MAX_DEALS {
        return normal(&ranks, base.len(), from_middle(observed) as f64 / ranks.len() as f64);
    }
    let (mut as_far, mut all) = (0_u64, 0_u64);
    deal(&ranks, base.len(), 0, &mut |sum| {
        all += 1;
        as_far += u64::from(from_middle(sum) >= from_middle(observed));
    });
    as_far as f64 / all as f64
}

/// The smallest p-value that [`rank_sum_p`] can return for this many values.
#[must_use]
pub fn least_rank_sum_p(base: usize, new: usize) -> f64 {
    2.0 / deals(base + new, base)
}

/// The number of ways to assign the values to the two sides.
fn deals(all: usize, base: usize) -> f64 {
    (1..=base).map(|k| (all - base + k) as f64 / k as f64).product()
}

/// Twice the rank of each value among all; tied values get their mean rank.
fn doubled_ranks(all: &[f64]) -> Vec<u64> {
    let rank = |value: &f64| {
        let below = all.iter().filter(|other| *other < value).count();
        let equal = all.iter().filter(|other| *other == value).count();
        (2 * below + equal + 1) as u64
    };
    all.iter().map(rank).collect()
}

/// Calls `seen` with the sum of every choice of `left` ranks.
fn deal(ranks: &[u64], left: usize, sum: u64, seen: &mut impl FnMut(u64)) {
    if left == 0 {
        seen(sum);
    } else if let [first, rest @ ..] = ranks
        && ranks.len() >= left
    {
        deal(rest, left - 1, sum + first, seen);
        deal(rest, left, sum, seen);
    }
}

/// The normal approximation for many numbers, corrected for ties by using the ranks' own variance.
fn normal(ranks: &[u64], base: usize, from_middle: f64) -> f64 {
    let (n, base) = (ranks.len() as f64, base as f64);
    let mean = ranks.iter().sum::<u64>() as f64 / n;
    let variance = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let deviation = (base * (n - base) / n * variance).sqrt();
    if deviation == 0.0 { 1.0 } else { two_sided(from_middle / deviation) }
}

/// The two-sided tail probability of the normal distribution beyond `z` (Abramowitz and Stegun 26.2.17, to 7 digits).
fn two_sided(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (2.0 * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum).min(1.0)
}

/// The two-sided p-value of paired differences, if each is equally likely to have the opposite sign (Wilcoxon's
/// signed-rank test, exact also with ties; pairs without a difference are ignored).
#[must_use]
pub fn signed_rank_p(differences: &[f64]) -> f64 {
    let differences: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    let sizes: Vec<f64> = differences.iter().map(|d| d.abs()).collect();
    let ranks = doubled_ranks(&sizes);
    let total: u64 = ranks.iter().sum();
    let up: u64 = ranks.iter().zip(&differences).filter(|(_, d)| **d > 0.0).map(|(rank, _)| rank).sum();
    let chances = sign_chances(&ranks);
    let from_middle = |sum: u64| (2 * sum).abs_diff(total);
    let as_far = |(sum, _): &(usize, &f64)| from_middle(*sum as u64) >= from_middle(up);
    chances.iter().enumerate().filter(as_far).map(|(_, chance)| chance).sum::<f64>().min(1.0)
}

/// The smallest p-value that [`signed_rank_p`] can return for this many pairs.
#[must_use]
pub fn least_signed_rank_p(pairs: usize) -> f64 {
    (2.0 / 2_f64.powi(i32::try_from(pairs).unwrap_or(i32::MAX))).min(1.0)
}

/// For each sum, the probability that the ranks with a positive sign add up to it, if each sign is random.
fn sign_chances(ranks: &[u64]) -> Vec<f64> {
    let mut chances = vec![0.0; ranks.iter().sum::<u64>() as usize + 1];
    chances[0] = 1.0;
    let mut highest = 0;
    for rank in ranks {
        let rank = *rank as usize;
        for sum in (0..=highest).rev() {
            let half = chances[sum] / 2.0;
            chances[sum] = half;
            chances[sum + rank] += half;
        }
        highest += rank;
    }
    chances
}

/// The median of paired differences and its 95 % confidence interval: the median of all pairwise means, and the means
/// at the ranks that the signed-rank test gives (Hodges and Lehmann). Fewer than six pairs cannot give 95 %; the
/// interval is then the whole line.
#[must_use]
pub fn shift_with_interval(differences: &[f64]) -> Option<(f64, f64, f64)> {
    let mut means = Vec::with_capacity(differences.len() * (differences.len() + 1) / 2);
    for (at, first) in differences.iter().enumerate() {
        means.extend(differences[at..].iter().map(|second| f64::midpoint(*first, *second)));
    }
    means.sort_by(f64::total_cmp);
    let middle = median(&means)?;
    let ranks: Vec<u64> = (1..=differences.len() as u64).collect();
    let mut below = 0.0;
    // The number of outermost means to exclude on each side, with less than 2.5 % of the probability per side.
    let chances = sign_chances(&ranks);
    let outside = chances.iter().take_while(|chance| {
        below += **chance;
        below <= 0.025
    });
    match outside.count() {
        0 => Some((middle, f64::NEG_INFINITY, f64::INFINITY)),
        outside => Some((middle, means[outside - 1], means[means.len() - outside])),
    }
}

/// A proportion, as a number of cases out of a total.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    pub part: u64,
    pub whole: u64,
}

impl Share {
    #[must_use]
    pub fn ratio(self) -> f64 {
        if self.whole == 0 { 0.0 } else { self.part as f64 / self.whole as f64 }
    }

    /// The 95 % confidence interval (Wilson's). Zero cases in n means "fewer than 4 in n", not "none".
    #[must_use]
    pub fn interval(self) -> (f64, f64) {
        const Z: f64 = 1.959_964;
        if self.whole == 0 {
            return (0.0, 1.0);
        }
        let n = self.whole as f64;
        let centre = self.ratio() + Z * Z / (2.0 * n);
        let half = Z * (self.ratio() * (1.0 - self.ratio()) / n + Z * Z / (4.0 * n * n)).sqrt();
        let scale = 1.0 + Z * Z / n;
        (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
    }

    /// How much larger `new` is than `self`, with the 95 % confidence interval of the difference (Newcombe's).
    #[must_use]
    pub fn difference(self, new: Self) -> (f64, f64, f64) {
        let ((low, high), (new_low, new_high)) = (self.interval(), new.interval());
        let (old_ratio, new_ratio) = (self.ratio(), new.ratio());
        let difference = new_ratio - old_ratio;
        let down = ((new_ratio - new_low).powi(2) + (high - old_ratio).powi(2)).sqrt();
        let up = ((new_high - new_ratio).powi(2) + (old_ratio - low).powi(2)).sqrt();
        (difference, difference - down, difference + up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_sum_agrees_with_the_published_tables() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0];
        let high = [6.0, 7.0, 8.0, 9.0, 10.0];
        assert!((rank_sum_p(&low, &high) - 2.0 / 252.0).abs() < 1e-12);
        assert!((rank_sum_p(&high, &low) - least_rank_sum_p(5, 5)).abs() < 1e-12);
        let mixed = rank_sum_p(&[1.0, 2.0, 3.0, 7.0, 8.0], &[4.0, 5.0, 6.0, 9.0, 10.0]);
        assert!((mixed - 0.2222).abs() < 1e-3, "U = 6 with five each: {mixed}");
        assert_eq!(rank_sum_p(&[1.0], &[2.0]), 1.0, "one run each shows nothing");
        assert_eq!(rank_sum_p(&[3.0; 5], &[3.0; 5]), 1.0);
        assert_eq!(rank_sum_p(&[], &[1.0]), 1.0);
        assert!(least_rank_sum_p(3, 3) >= 0.1, "three against three can never be significant");
    }

    #[test]
    fn the_approximation_meets_the_exact_test() {
        assert!((two_sided(1.959_964) - 0.05).abs() < 1e-6);
        let side = |from: u32| (0..9).map(|n| f64::from(from + 3 * n)).collect::<Vec<_>>();
        let (base, new) = (side(0), side(7));
        let ranks = doubled_ranks(&base.iter().chain(&new).copied().collect::<Vec<_>>());
        let total: u64 = ranks.iter().sum();
        let sum: u64 = ranks[..9].iter().sum();
        let approximated = normal(&ranks, 9, (sum * 18).abs_diff(total * 9) as f64 / 18.0);
        let exact = rank_sum_p(&base, &new);
        assert!((approximated - exact).abs() < 0.03, "{approximated} {exact}");
    }

    #[test]
    fn the_signed_rank_agrees_with_the_published_tables() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        assert!((signed_rank_p(&ten) - least_signed_rank_p(10)).abs() < 1e-12);
        // W = 8 with ten pairs: 0.0488 two-sided.
        let mixed = [1.0, 2.0, -3.0, 4.0, -5.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        assert!((signed_rank_p(&mixed) - 0.048_8).abs() < 1e-3, "{}", signed_rank_p(&mixed));
        assert!((signed_rank_p(&mixed.map(|d| -d)) - signed_rank_p(&mixed)).abs() < 1e-12);
        assert_eq!(signed_rank_p(&[]), 1.0);
        assert_eq!(signed_rank_p(&[0.0; 9]), 1.0);
        assert_eq!(signed_rank_p(&[2.0, -2.0]), 1.0);
    }

    #[test]
    fn the_interval_of_a_shift_is_that_of_the_test() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let (middle, low, high) = shift_with_interval(&ten).unwrap();
        assert_eq!(middle, 5.5);
        // 9 of the 55 means at each end (critical value 8 for ten pairs).
        assert_eq!((low, high), (3.0, 8.0));
        assert_eq!(shift_with_interval(&[1.0; 5]).unwrap().1, f64::NEG_INFINITY);
        assert!(shift_with_interval(&[1.0, 1.1, 1.2, 1.3, 1.4, 1.5]).unwrap().1.is_finite());
        assert!(shift_with_interval(&[]).is_none());
    }

    #[test]
    fn shares_have_the_intervals_of_the_textbooks() {
        // Newcombe 1998, case (a): 56/70 against 48/80, 0.0524 to 0.3339.
        let (difference, low, high) = Share { part: 48, whole: 80 }.difference(Share { part: 56, whole: 70 });
        assert!((difference - 0.2).abs() < 1e-9);
        assert!((low - 0.0524).abs() < 1e-4 && (high - 0.3339).abs() < 1e-4, "{low} {high}");
        let (low, high) = Share { part: 0, whole: 1_000 }.interval();
        assert!(low < 1e-12 && (0.003..0.004).contains(&high), "none in 1,000 is fewer than four in 1,000: {high}");
        assert_eq!(Share { part: 0, whole: 0 }.interval(), (0.0, 1.0));
    }
}
