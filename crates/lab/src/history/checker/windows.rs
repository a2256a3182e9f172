//! Intervals of time, each with the time at which its consequences end.

/// Merged and sorted, so that a query is a binary search.
#[derive(Debug, Default)]
pub(super) struct Windows(Vec<Window>);

/// Start and end, and the time until which its consequences may be visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Window {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) repaired: u64,
}

impl Windows {
    /// Builds them from intervals in any order, which may overlap.
    pub(super) fn new(stretches: impl Iterator<Item = Window>) -> Self {
        let mut sorted: Vec<Window> = stretches.collect();
        sorted.sort_unstable();
        let mut merged: Vec<Window> = Vec::with_capacity(sorted.len());
        for window in sorted {
            match merged.last_mut() {
                Some(last) if window.from <= last.to => {
                    last.to = last.to.max(window.to);
                    last.repaired = last.repaired.max(window.repaired);
                }
                Some(_) | None => merged.push(window),
            }
        }
        Self(merged)
    }

    /// The last interval that overlaps this one.
    pub(super) fn meet(&self, from: u64, to: u64) -> Option<Window> {
        let behind = self.0.partition_point(|window| window.from <= to);
        let last = self.0[..behind].last().copied();
        last.filter(|window| window.to >= from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_meet_what_shares_a_moment_with_them() {
        let window = |(from, to)| Window { from, to, repaired: to + 5 };
        let windows = Windows::new([(50, 60), (10, 20), (15, 30)].map(window).into_iter());
        for (from, to, repaired) in
            [(0, 9, None), (0, 10, Some(35)), (30, 40, Some(35)), (31, 49, None), (0, 99, Some(65)), (61, 70, None)]
        {
            assert_eq!(windows.meet(from, to).map(|window| window.repaired), repaired, "{from}..{to}");
        }
        assert!(Windows::default().meet(0, u64::MAX).is_none());
    }
}
