//! A sparse histogram of microseconds: exact up to 2 ms, within 0.1 % above that, without an upper limit.
//!
//! The buckets are those of HDR histograms with three digits: one for each value below 2,048, and above it 1,024 for
//! each doubling. Counters are in pages that are allocated when first used. So one histogram per second, kind of
//! request and outcome takes a few kilobytes, and no value is too long for the last bucket.

/// Values below this have their own bucket.
const EXACT: u64 = 2_048;
/// Buckets for each doubling above that.
const PER_DOUBLING: usize = 1_024;
/// Counters in a page: 512 bytes.
const PAGE: usize = 64;

type Page = Box<[u64; PAGE]>;

#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    pages: Vec<Option<Page>>,
    count: u64,
}

/// Empty pages are ignored.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        self.buckets().eq(other.buckets())
    }
}

impl Histogram {
    pub(crate) fn record(&mut self, micros: u64) {
        self.record_many(micros, 1);
    }

    pub(crate) fn record_many(&mut self, micros: u64, count: u64) {
        let bucket = bucket_of(micros);
        let page = bucket / PAGE;
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        self.pages[page].get_or_insert_with(|| Box::new([0; PAGE]))[bucket % PAGE] += count;
        self.count += count;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.pages.len() < other.pages.len() {
            self.pages.resize_with(other.pages.len(), || None);
        }
        for (sum, more) in self.pages.iter_mut().zip(&other.pages) {
            match (sum, more) {
                (Some(sum), Some(more)) => sum.iter_mut().zip(more.iter()).for_each(|(sum, more)| *sum += more),
                (sum @ None, Some(more)) => *sum = Some(more.clone()),
                (_, None) => {}
            }
        }
        self.count += other.count;
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The non-empty buckets in order: the middle of the bucket in microseconds, and its count. Recording the middle
    /// selects the same bucket again.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counters = self.pages.iter().enumerate().filter_map(|(at, page)| Some((at, page.as_ref()?)));
        counters.flat_map(|(at, page)| {
            let counted = page.iter().enumerate().filter(|(_, count)| **count > 0);
            counted.map(move |(within, count)| (middle_of(at * PAGE + within), *count))
        })
    }

    /// The smallest value that at least `rank` of the recorded values do not exceed; ranks count from 1.
    pub(crate) fn at_rank(&self, rank: u64) -> Option<u64> {
        let mut below = 0;
        self.buckets().find_map(|(micros, count)| {
            below += count;
            (below >= rank).then_some(micros)
        })
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    // The shift that leaves eleven binary digits.
    let shift = micros.ilog2() - EXACT.ilog2() + 1;
    EXACT as usize + (shift as usize - 1) * PER_DOUBLING + ((micros >> shift) as usize - PER_DOUBLING)
}

fn middle_of(bucket: usize) -> u64 {
    let Some(beyond) = bucket.checked_sub(EXACT as usize) else {
        return bucket as u64;
    };
    let shift = beyond / PER_DOUBLING + 1;
    let lowest = ((beyond % PER_DOUBLING + PER_DOUBLING) as u64) << shift;
    lowest + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_is_kept_within_a_thousandth(micros in prop_oneof![0..5_000_u64, any::<u64>()]) {
            let mut histogram = Histogram::default();
            histogram.record(micros);
            let kept = histogram.at_rank(1).unwrap();
            prop_assert!(kept.abs_diff(micros) as f64 <= micros as f64 * 0.000_5, "{micros}: {kept}");
            prop_assert_eq!(bucket_of(kept), bucket_of(micros), "it can be written and read");
        }

        #[test]
        fn a_sum_is_the_histogram_of_all(parts in prop::collection::vec(prop::collection::vec(0..10_000_000_u64, 0..50), 1..4)) {
            let (mut sum, mut all) = (Histogram::default(), Histogram::default());
            for part in &parts {
                let mut one = Histogram::default();
                part.iter().for_each(|micros| one.record(*micros));
                part.iter().for_each(|micros| all.record(*micros));
                sum.add(&one);
            }
            prop_assert_eq!(sum.count(), all.count());
            prop_assert!(sum.buckets().eq(all.buckets()));
        }
    }

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for micros in 0..1_000_000_u64 {
            let step = bucket_of(micros + 1) - bucket_of(micros);
            assert!(step <= 1, "{micros}");
        }
        assert_eq!(Histogram::default().at_rank(1), None);
    }
}
