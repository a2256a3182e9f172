//! Latencies: a histogram with the exact sum, minimum and maximum. They can be added, serialized and deserialized.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// A proportion in millionths, so that the rank it stands for is exact: 95 % of 20 is 19 and not 18.999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Quantile(u32);

const MILLION: u32 = 1_000_000;

impl Quantile {
    pub(crate) const P50: Self = Self(500_000);
    pub(crate) const P90: Self = Self(900_000);
    pub(crate) const P95: Self = Self(950_000);
    pub(crate) const P99: Self = Self(990_000);
    pub(crate) const P99_9: Self = Self(999_000);

    /// Parses the part after the `p`: `95`, `99.9`, `99.99`.
    pub(crate) fn parse(percent: &str) -> Option<Self> {
        let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) || whole.len() > 2 || fraction.len() > 4 {
            return None;
        }
        let millionths = whole.parse::<u32>().ok()? * 10_000 + format!("{fraction:0<4}").parse::<u32>().ok()?;
        (0 < millionths && millionths < MILLION).then_some(Self(millionths))
    }

    /// The rank of this percentile among `count` values.
    fn rank(self, count: u64) -> u64 {
        (u128::from(count) * u128::from(self.0)).div_ceil(u128::from(MILLION)) as u64
    }

    /// The number of samples of which ten lie beyond the percentile. With fewer samples, the value depends on a handful
    /// of requests.
    pub(crate) fn samples_needed(self) -> u64 {
        10 * u64::from(MILLION).div_ceil(u64::from(MILLION - self.0))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(into = "Record", from = "Record")]
pub(crate) struct Latencies {
    micros: Histogram,
    sum: Duration,
    /// Undefined while nothing is counted, like `max`.
    min: Duration,
    max: Duration,
}

impl Latencies {
    pub(crate) fn record(&mut self, latency: Duration) {
        let first = self.count() == 0;
        self.micros.record(rounded_micros(latency));
        self.sum += latency;
        self.min = if first { latency } else { self.min.min(latency) };
        self.max = self.max.max(latency);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if other.count() == 0 {
            return;
        }
        self.min = if self.count() == 0 { other.min } else { self.min.min(other.min) };
        self.max = self.max.max(other.max);
        self.sum += other.sum;
        self.micros.add(&other.micros);
    }

    pub(crate) fn count(&self) -> u64 {
        self.micros.count()
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

    /// The latency at this percentile.
    pub(crate) fn at(&self, quantile: Quantile) -> Option<Duration> {
        let micros = self.micros.at_rank(quantile.rank(self.count()).max(1))?;
        Some(Duration::from_micros(micros).clamp(self.min, self.max))
    }

    /// Every non-empty bucket: its latency in µs and its count.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        self.micros.buckets().collect()
    }
}

/// Rounded, not truncated: truncation would make every latency half a microsecond too short on average.
fn rounded_micros(latency: Duration) -> u64 {
    latency.as_secs().saturating_mul(1_000_000).saturating_add((u64::from(latency.subsec_nanos()) + 500) / 1_000)
}

/// The serialized form.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    sum_ns: u64,
    min_ns: u64,
    max_ns: u64,
    buckets: Vec<(u64, u64)>,
}

impl From<Latencies> for Record {
    fn from(latencies: Latencies) -> Self {
        // 64 bits of nanoseconds are 584 years.
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let Latencies { sum, min, max, .. } = latencies;
        Self { sum_ns: nanos(sum), min_ns: nanos(min), max_ns: nanos(max), buckets: latencies.buckets() }
    }
}

impl From<Record> for Latencies {
    fn from(record: Record) -> Self {
        let mut micros = Histogram::default();
        for (latency, count) in record.buckets {
            micros.record_many(latency, count);
        }
        let [sum, min, max] = [record.sum_ns, record.min_ns, record.max_ns].map(Duration::from_nanos);
        Self { micros, sum, min, max }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_extremes_are_exact_and_nothing_is_too_long() {
        let mut latencies = Latencies::default();
        assert_eq!((latencies.at(Quantile::P50), latencies.mean()), (None, None));
        for millis in [1, 2, 90_000] {
            latencies.record(Duration::from_millis(millis));
        }
        assert_eq!(latencies.mean(), Some(Duration::from_millis(30_001)));
        assert_eq!((latencies.min(), latencies.max()), (Some(Duration::from_millis(1)), Some(Duration::from_secs(90))));
        let mut sum = Latencies::default();
        sum.add(&latencies);
        sum.add(&Latencies::default());
        assert_eq!((sum.count(), sum.min()), (3, Some(Duration::from_millis(1))));
        let p99 = sum.at(Quantile::P99).unwrap().as_secs_f64();
        assert!((p99 / 90.0 - 1.0).abs() < 0.001, "90 s are 90 s and not the longest that fits: {p99}");
        let again: Latencies = serde_json::from_str(&serde_json::to_string(&sum).unwrap()).unwrap();
        assert_eq!((again.count(), again.mean(), again.at(Quantile::P50)), (3, sum.mean(), sum.at(Quantile::P50)));
    }

    #[test]
    fn a_percentile_is_the_sample_at_its_rank() {
        let mut latencies = Latencies::default();
        for millis in 1..=20 {
            latencies.record(Duration::from_micros(millis));
        }
        assert_eq!(latencies.at(Quantile::P95), Some(Duration::from_micros(19)));
        assert_eq!(latencies.at(Quantile::P50), Some(Duration::from_micros(10)));
        assert_eq!(latencies.at(Quantile::P99_9), Some(Duration::from_micros(20)));
    }

    #[test]
    fn percentiles_are_read_and_know_how_many_samples_they_need() {
        for (text, needed) in [("50", 20), ("95", 200), ("99", 1_000), ("99.9", 10_000), ("99.99", 100_000)] {
            assert_eq!(Quantile::parse(text).map(Quantile::samples_needed), Some(needed), "{text}");
        }
        assert_eq!(Quantile::parse("99.9"), Some(Quantile::P99_9));
        for text in ["", "0", "100", "99.", ".9", "-5", "9x", "99.99999", "00.0"] {
            assert_eq!(Quantile::parse(text), None, "{text:?}");
        }
    }
}
