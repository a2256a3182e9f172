//! Stretches of time.

/// Merged and sorted, so that a question costs a binary search.
#[derive(Debug, Default)]
pub(super) struct Windows(Vec<(u64, u64)>);

impl Windows {
    /// From stretches in any order, which may overlap.
    pub(super) fn new(stretches: impl Iterator<Item = (u64, u64)>) -> Self {
        let mut sorted: Vec<(u64, u64)> = stretches.collect();
        sorted.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(sorted.len());
        for (from, to) in sorted {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(_) | None => merged.push((from, to)),
            }
        }
        Self(merged)
    }

    /// Whether any of them shares a moment with this one.
    pub(super) fn meet(&self, from: u64, to: u64) -> bool {
        let after = self.0.partition_point(|window| window.1 < from);
        self.0.get(after).is_some_and(|window| window.0 <= to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_what_shares_a_moment_with_them() {
        let windows = Windows::new([(50, 60), (10, 20), (15, 30)].into_iter());
        for (from, to, meets) in
            [(0, 9, false), (0, 10, true), (30, 40, true), (31, 49, false), (0, 99, true), (61, 70, false)]
        {
            assert_eq!(windows.meet(from, to), meets, "{from}..{to}");
        }
        assert!(!Windows::default().meet(0, u64::MAX));
    }
}
