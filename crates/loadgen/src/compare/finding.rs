//! The finding for a metric, and the conditions under which there is one.

/// The accepted probability of reporting a difference where there is none.
pub(crate) const ALPHA: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    Better,
    Worse,
    /// Some metrics of the group are better and some are worse.
    Mixed,
    Same,
    /// Not enough data to distinguish a difference from chance.
    Unjudged,
}

impl Finding {
    pub(crate) fn of(is_more: bool, more_is_better: bool) -> Self {
        if is_more == more_is_better { Self::Better } else { Self::Worse }
    }

    /// The finding for a group as a whole.
    pub(crate) fn overall(findings: impl Iterator<Item = Self>) -> Self {
        let findings: Vec<Self> = findings.collect();
        let any = |finding| findings.contains(&finding);
        match (any(Self::Better) || any(Self::Mixed), any(Self::Worse) || any(Self::Mixed)) {
            (true, true) => Self::Mixed,
            (true, false) => Self::Better,
            (false, true) => Self::Worse,
            (false, false) if any(Self::Same) => Self::Same,
            (false, false) => Self::Unjudged,
        }
    }

    pub(crate) fn is_worse(self) -> bool {
        match self {
            Self::Worse | Self::Mixed => true,
            Self::Better | Self::Same | Self::Unjudged => false,
        }
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Mixed => "mixed",
            Self::Same => "no significant difference",
            Self::Unjudged => "not judged",
        }
    }
}

/// Which of several tests are significant together, by Holm's method: the more metrics are tested, the more likely
/// chance makes one significant. All are `None` if even the smallest possible p-value would not be significant.
pub(crate) fn holm(ps: &[f64], least: f64) -> Vec<Option<bool>> {
    let tests = ps.len() as f64;
    if least * tests > ALPHA {
        return vec![None; ps.len()];
    }
    let mut order: Vec<usize> = (0..ps.len()).collect();
    order.sort_by(|a, b| ps[*a].total_cmp(&ps[*b]));
    let mut significant = vec![Some(false); ps.len()];
    for (rank, at) in order.into_iter().enumerate() {
        if ps[at] * (tests - rank as f64) > ALPHA {
            break;
        }
        significant[at] = Some(true);
    }
    significant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_tests_are_judged_together() {
        assert_eq!(holm(&[0.03, 0.001], 0.001), [Some(true), Some(true)]);
        assert_eq!(holm(&[0.03, 0.03], 0.001), [Some(false), Some(false)]);
        assert_eq!(holm(&[0.1], 0.1), [None], "three against three");
    }

    #[test]
    fn a_group_is_what_its_members_are() {
        use Finding::{Better, Mixed, Same, Unjudged, Worse};
        for (all, whole) in [
            (&[Better, Same][..], Better),
            (&[Better, Worse], Mixed),
            (&[Worse, Unjudged], Worse),
            (&[Same, Unjudged], Same),
            (&[Unjudged], Unjudged),
            (&[], Unjudged),
        ] {
            assert_eq!(Finding::overall(all.iter().copied()), whole, "{all:?}");
        }
    }
}
