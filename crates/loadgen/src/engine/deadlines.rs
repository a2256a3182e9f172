//! The deadlines of many connections, at low cost.
//!
//! Most requests are answered long before their deadline, so moving a timer with each request would waste time. Each
//! slot has one alarm in a heap, which is not changed while it is no later than the slot's deadline. An alarm that
//! fires too early is set again. So a slot needs one heap operation per time-out period, not one per request.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Deadlines {
    alarms: BinaryHeap<Reverse<(Duration, u32)>>,
    /// The earliest alarm of each slot. Other alarms of the same slot in the heap are void.
    earliest: Vec<Option<Duration>>,
    deadlines: Vec<Option<Duration>>,
}

impl Deadlines {
    pub(super) fn new(slots: usize) -> Self {
        Self { alarms: BinaryHeap::new(), earliest: vec![None; slots], deadlines: vec![None; slots] }
    }

    pub(super) fn set(&mut self, slot: u32, at: Duration) {
        self.deadlines[slot as usize] = Some(at);
        let earliest = &mut self.earliest[slot as usize];
        if earliest.is_none_or(|alarm| at < alarm) {
            *earliest = Some(at);
            self.alarms.push(Reverse((at, slot)));
        }
    }

    pub(super) fn clear(&mut self, slot: u32) {
        self.deadlines[slot as usize] = None;
    }

    /// The time at which [`Deadlines::expired`] must be called again.
    pub(super) fn next(&self) -> Option<Duration> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    /// Returns a slot whose deadline has passed, and clears the deadline. Must be called until it returns `None`.
    pub(super) fn expired(&mut self, now: Duration) -> Option<u32> {
        while let Some(Reverse((at, slot))) = self.alarms.peek().copied()
            && at <= now
        {
            self.alarms.pop();
            let index = slot as usize;
            if self.earliest[index] != Some(at) {
                continue;
            }
            self.earliest[index] = None;
            match self.deadlines[index] {
                Some(deadline) if deadline <= now => {
                    self.deadlines[index] = None;
                    return Some(slot);
                }
                Some(deadline) => self.set(slot, deadline),
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_deadline_moved_away_does_not_ring_early_and_costs_no_alarm() {
        let mut deadlines = Deadlines::new(1);
        for start in 0..1_000 {
            deadlines.set(0, MS * (start + 2_000));
        }
        assert_eq!(deadlines.alarms.len(), 1);
        assert_eq!(deadlines.expired(MS * 2_998), None);
        assert_eq!(deadlines.next(), Some(MS * 2_999), "set anew, exactly");
        assert_eq!(deadlines.expired(MS * 2_999), Some(0));
        assert_eq!(deadlines.expired(MS * 9_999), None);
    }

    proptest! {
        /// For any sequence of set, move and clear, each deadline expires exactly at its time.
        #[test]
        fn every_deadline_rings_at_its_time(steps in prop::collection::vec((0_u32..4, prop::option::of(0_u32..50)), 1..60)) {
            let mut deadlines = Deadlines::new(4);
            let mut truth = [None; 4];
            for (step, (slot, ahead)) in steps.into_iter().enumerate() {
                let now = MS * step as u32;
                let mut rung = Vec::new();
                while let Some(slot) = deadlines.expired(now) {
                    rung.push(slot);
                }
                rung.sort_unstable();
                let due: Vec<u32> = (0..4).filter(|s| truth[*s as usize].is_some_and(|at| at <= now)).collect();
                prop_assert_eq!(&rung, &due);
                prop_assert!(truth.iter().flatten().all(|at| *at <= now || deadlines.next().is_some_and(|next| next <= *at)));
                for slot in due {
                    truth[slot as usize] = None;
                }
                match ahead {
                    Some(ahead) => deadlines.set(slot, now + MS * (ahead + 1)),
                    None => deadlines.clear(slot),
                }
                truth[slot as usize] = ahead.map(|ahead| now + MS * (ahead + 1));
            }
        }
    }
}
