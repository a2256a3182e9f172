//! The few calls of a long history that prove a violation, as a separate history: small enough to read, to keep, and to
//! check again.

use std::collections::BTreeSet;

use super::{
    History, Violation,
    call::{Asked, Call},
};

impl History {
    /// The part that proves `violation`: its calls, and every write that the checker needs to understand them.
    #[must_use]
    pub fn excerpt(&self, violation: &Violation) -> Self {
        let proof: BTreeSet<usize> = violation.calls.iter().copied().collect();
        let calls = || proof.iter().filter_map(|place| self.calls.get(*place));
        let mut ids: BTreeSet<i64> = calls().filter_map(|call| call.asked.id()).collect();
        ids.insert(violation.id);
        let sent: BTreeSet<&str> = calls().filter_map(|call| call.asked.value()).collect();
        let of_proof =
            self.last.iter().filter(|last| last.item.as_ref().is_some_and(|item| sent.contains(&*item.value)));
        ids.extend(of_proof.map(|last| last.id));
        let from = calls().map(|call| call.begin).min().unwrap_or(0);
        let to = calls().map(|call| call.end).max().unwrap_or(u64::MAX);

        let is_kept = |place: usize, call: &Call| {
            let deletes = matches!(call.asked, Asked::Delete { id, .. } if ids.contains(&id));
            proof.contains(&place) || deletes
        };
        let kept = || self.calls.iter().enumerate().filter(|(place, call)| is_kept(*place, call));
        let last: Vec<_> = self.last.iter().filter(|last| ids.contains(&last.id)).cloned().collect();
        let shown =
            kept().flat_map(|(_, call)| call.asked.answered()).chain(last.iter().filter_map(|last| last.item.as_ref()));
        let shown: BTreeSet<&str> =
            shown.filter(|item| ids.contains(&item.id)).map(|item| item.value.as_str()).collect();
        // Every value in the excerpt must have been written in it.
        let made = |call: &Call| call.asked.value().is_some_and(|value| shown.contains(value));
        let calls = self.calls.iter().enumerate().filter(|(place, call)| is_kept(*place, call) || made(call));
        Self {
            head: self.head.clone(),
            initial: self.initial.iter().filter(|item| ids.contains(&item.id)).cloned().collect(),
            calls: calls.map(|(_, call)| call.about(&ids)).collect(),
            broken: self.broken.iter().filter(|broken| broken.from <= to && from <= broken.to).cloned().collect(),
            last,
            complete: self.complete,
        }
    }
}

impl Call {
    /// The same call, with a page reduced to these records.
    fn about(&self, ids: &BTreeSet<i64>) -> Self {
        let mut call = self.clone();
        if let Asked::Page { items, .. } = &mut call.asked {
            items.retain(|item| ids.contains(&item.id));
        }
        call
    }
}
