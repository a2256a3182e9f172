//! Latencies as an HDR histogram: 1 µs to 60 s with 3 digits, plus the exact sum, minimum and maximum.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart from longer ones; time-outs are limited to it.
const MAX_MICROS: u64 = 60_000_000;

#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    micros: Histogram<u64>,
    sum: Duration,
    min: Duration,
    max: Duration,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        #[expect(clippy::expect_used, reason = "the bounds are constants that a test creates")]
        let micros = Histogram::new_with_bounds(1, MAX_MICROS, 3).expect("constant bounds");
        Self { micros, sum: Duration::ZERO, min: Duration::MAX, max: Duration::ZERO }
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        // Rounded, not cut off: cutting would make every latency look half a microsecond shorter.
        let micros = (latency.as_secs() * 1_000_000).saturating_add((u64::from(latency.subsec_nanos()) + 500) / 1_000);
        self.micros.saturating_record(micros);
        self.sum += latency;
        self.min = self.min.min(latency);
        self.max = self.max.max(latency);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if other.count() == 0 {
            return;
        }
        #[expect(clippy::expect_used, reason = "both have the same constant bounds")]
        self.micros.add(&other.micros).expect("the same bounds");
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.len()
    }

    pub(crate) fn mean(&self) -> Option<Duration> {
        (self.count() > 0).then(|| self.sum.div_f64(self.count() as f64))
    }

    pub(crate) fn min(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.min)
    }

    pub(crate) fn max(&self) -> Option<Duration> {
        (self.count() > 0).then_some(self.max)
    }

    /// The latency that a share of `quantile` of all did not exceed.
    pub(crate) fn at(&self, quantile: f64) -> Option<Duration> {
        let max = self.max()?;
        Some(Duration::from_micros(self.micros.value_at_quantile(quantile)).min(max))
    }

    /// Every recorded bucket: its latency in µs and how many fell into it.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        self.micros.iter_recorded().map(|bucket| (bucket.value_iterated_to(), bucket.count_at_value())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_three_digits_over_the_whole_range() {
        for micros in [1_u64, 999, 12_345, 1_000_000, 59_999_999] {
            let mut latencies = Latencies::new();
            latencies.record(Duration::from_micros(micros));
            latencies.record(Duration::from_micros(60_000_000));
            let half = latencies.at(0.5).unwrap().as_micros() as f64;
            assert!((half / micros as f64 - 1.0).abs() <= 0.001, "{micros}: {half}");
        }
    }

    #[test]
    fn mean_and_extremes_are_exact_and_longer_ones_are_kept_at_the_end() {
        let mut latencies = Latencies::new();
        assert_eq!((latencies.at(0.5), latencies.mean()), (None, None));
        for millis in [1, 2, 90_000] {
            latencies.record(Duration::from_millis(millis));
        }
        assert_eq!(latencies.mean(), Some(Duration::from_millis(30_001)));
        assert_eq!((latencies.min(), latencies.max()), (Some(Duration::from_millis(1)), Some(Duration::from_secs(90))));
        let mut sum = Latencies::new();
        sum.add(&latencies);
        sum.add(&Latencies::new());
        assert_eq!((sum.count(), sum.min()), (3, Some(Duration::from_millis(1))));
        assert!(sum.at(1.0).unwrap() >= Duration::from_secs(60));
    }
}
