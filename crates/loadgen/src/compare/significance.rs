//! How likely equal sides would differ as much: the exact rank-sum test (Mann and Whitney). It asks nothing about the
//! shape of the numbers, which latencies would not grant anyway, and is exact for the handful of runs there are.

/// Up to so many ways to deal the runs out, all are tried.
const MAX_DEALS: f64 = 200_000.0;

/// The two-sided chance of a rank sum at least as far from the middle, were both sides the same.
pub(super) fn p_value(base: &[f64], new: &[f64]) -> f64 {
    if base.is_empty() || new.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(base, new);
    let observed: u64 = ranks[..base.len()].iter().sum();
    let total: u64 = ranks.iter().sum();
    // Twice-doubled, so that the middle is a whole number too.
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

/// The smallest chance that so many runs can show at all.
pub(super) fn least_p(base: usize, new: usize) -> f64 {
    2.0 / deals(base + new, base)
}

/// In how many ways the runs can be dealt out to the sides.
fn deals(runs: usize, base: usize) -> f64 {
    (1..=base).map(|k| (runs - base + k) as f64 / k as f64).product()
}

/// Twice the rank of each run among all, the mean one where runs are equal.
fn doubled_ranks(base: &[f64], new: &[f64]) -> Vec<u64> {
    let all: Vec<f64> = base.iter().chain(new).copied().collect();
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

/// The normal approximation for many runs, corrected for ties by using the ranks' own variance.
fn normal(ranks: &[u64], base: usize, from_middle: f64) -> f64 {
    let (n, base) = (ranks.len() as f64, base as f64);
    let mean = ranks.iter().sum::<u64>() as f64 / n;
    let variance = ranks.iter().map(|rank| (*rank as f64 - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let deviation = (base * (n - base) / n * variance).sqrt();
    if deviation == 0.0 { 1.0 } else { two_sided(from_middle / deviation) }
}

/// The share of a normal distribution at least `z` from its middle (Abramowitz and Stegun 26.2.17, to 7 digits).
fn two_sided(z: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * z);
    let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
    let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
    (2.0 * (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_the_published_tables() {
        let low = [1.0, 2.0, 3.0, 4.0, 5.0];
        let high = [6.0, 7.0, 8.0, 9.0, 10.0];
        assert!((p_value(&low, &high) - 2.0 / 252.0).abs() < 1e-12);
        assert!((p_value(&high, &low) - least_p(5, 5)).abs() < 1e-12);
        let mixed = p_value(&[1.0, 2.0, 3.0, 7.0, 8.0], &[4.0, 5.0, 6.0, 9.0, 10.0]);
        assert!((mixed - 0.2222).abs() < 1e-3, "U = 6 with five each: {mixed}");
        assert_eq!(p_value(&[1.0], &[2.0]), 1.0, "one run each shows nothing");
        assert_eq!(p_value(&[3.0; 5], &[3.0; 5]), 1.0);
        assert_eq!(p_value(&[], &[1.0]), 1.0);
    }

    #[test]
    fn the_approximation_meets_the_exact_test() {
        assert!((two_sided(1.959_964) - 0.05).abs() < 1e-6);
        let side = |from: u32| (0..9).map(|n| f64::from(from + 3 * n)).collect::<Vec<_>>();
        let (base, new) = (side(0), side(7));
        let ranks = doubled_ranks(&base, &new);
        let total: u64 = ranks.iter().sum();
        let sum: u64 = ranks[..9].iter().sum();
        let approximated = normal(&ranks, 9, (sum * 18).abs_diff(total * 9) as f64 / 18.0);
        let exact = p_value(&base, &new);
        assert!((approximated - exact).abs() < 0.03, "{approximated} {exact}");
    }
}
