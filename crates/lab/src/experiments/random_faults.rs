//! A random schedule of faults, determined by the seed.

use std::time::Duration;

use fastrand::Rng;
use stack::{
    FaultKind::{
        self, AlterColumn, EndConnections, Flush, HalfOpen, Kill, LimitConnections, LimitMemory, LockTable, Pause,
        PauseClients, ReadOnly, Reset, Slow, Stop,
    },
    Target::{self, Api, Postgres, Redis},
};

use super::outage::{self, Says};
use crate::{
    experiment::{About, Action, Arm, Experiment, LoadPlan, RequestPlan, Scale},
    hypothesis::{Answers, Bound, Hypothesis, Measure},
};

const ARM: &str = "faults";
const REPLICAS: u32 = 3;
/// The time to inject a fault and to undo it.
const OVERHEAD: Duration = Duration::from_millis(700);
/// How long the load continues after the last fault: long enough for everything to recover, and to confirm it.
const LAST_CALM: Duration = Duration::from_secs(5);
/// nginx waits one second for a replica, then tries another one once, whose limit is 300 ms.
const LONGEST_MS: f64 = 1_600.0;

pub(super) fn experiment(scale: Scale, seed: u64) -> Experiment {
    let about =
        About::new("random-faults", "Faults come at random: does anything hang, or answer wrong, or stay broken?")
            .expect(
                "Requests that fail are refused in time. No answer contains another record, or an older version than \
             was served before. After the last fault everything works as at the start. The schedule follows from \
             the seed, and `--seed` repeats it.",
            )
            .change(
                "Turn each finding of a random schedule into an experiment of its own, with the single fault that \
             caused it.",
            );
    let lasts = scale.seconds(25, 3_600);
    let requests = [
        RequestPlan::get("/data/{id}").named("hot").weight(0.7).holding("body:\"version\":"),
        RequestPlan::get("/data/{cold}").named("cold").weight(0.1),
        RequestPlan::put("/data/{id}").weight(0.2),
    ];
    let slow = || Slow { latency: Duration::from_millis(1), jitter: Duration::ZERO, bandwidth: None };
    let mut arm = Arm::new(ARM)
        // The proxies for network faults are inserted before the load.
        .prepared([Action::fault(Redis, slow()), Action::fault(Postgres, slow()), Action::heal()])
        .load(LoadPlan::hot_and_cold(outage::RATE, lasts, 0.1).asking(requests))
        .watched("/data/1");
    for (breaks, heals, faults) in schedule(seed, lasts, scale) {
        for (target, kind) in faults {
            arm = arm.at(breaks, Action::fault(target, kind));
        }
        arm = arm.at(heals, Action::heal());
    }
    Experiment { about, arms: vec![arm], hypotheses: hypotheses() }
}

fn hypotheses() -> Vec<Hypothesis> {
    let says = Says(ARM);
    let slowest = Measure::Latency { of: Answers::All, percentile: 100.0 };
    let mut all = vec![
        says.that("no request hangs", "whole", slowest, Bound::at_most(LONGEST_MS)),
        says.that("most requests succeed", "whole", Measure::Success, Bound::at_least(70.0)),
        says.that("no request fails after the last recovery", "after", Measure::Failures, Bound::at_most(0.0)),
        says.never_wrong("nginx"),
    ];
    for replica in 1..=REPLICAS {
        let name = Api(replica).to_string();
        all.push(says.never_wrong(&name));
        all.push(says.recovers(&name, "every replica answers within 2 s of a recovery"));
    }
    all
}

type Break = (Duration, Duration, Vec<(Target, FaultKind)>);

/// The faults are drawn like cards from a shuffled deck: each comes once before any comes again.
fn schedule(seed: u64, lasts: Duration, scale: Scale) -> Vec<Break> {
    let mut rng = Rng::with_seed(seed);
    let (holds, calms) = scale.pick((800..1_500, 800..1_500), (1_000..8_000, 2_000..10_000));
    let mut deck = Vec::new();
    let mut steps: Vec<Break> = Vec::new();
    let mut now = Duration::from_secs(2);
    loop {
        if deck.is_empty() {
            deck = all(&mut rng);
            rng.shuffle(&mut deck);
        }
        let Some(first) = deck.pop() else { return steps };
        let mut faults = vec![first];
        // Sometimes two at once, on different servers.
        if rng.u8(0..4) == 0
            && let Some(place) = deck.iter().rposition(|(target, _)| *target != faults[0].0)
        {
            faults.push(deck.remove(place));
        }
        let heals = now + Duration::from_millis(rng.u64(holds.clone())) + OVERHEAD;
        let next = heals + Duration::from_millis(rng.u64(calms.clone())) + OVERHEAD;
        if heals + LAST_CALM > lasts {
            return steps;
        }
        steps.push((now, heals, faults));
        now = next;
    }
}

/// Every fault that needs no privileges on the machine, once.
fn all(rng: &mut Rng) -> Vec<(Target, FaultKind)> {
    let mut replica = || Api(rng.u32(1..=REPLICAS));
    let mut all = vec![(replica(), Kill), (replica(), Stop), (replica(), Pause)];
    let late = Slow { latency: Duration::from_millis(200), jitter: Duration::from_millis(50), bandwidth: None };
    for target in [Redis, Postgres] {
        all.extend([Kill, Stop, Pause, Reset, HalfOpen, late.clone()].map(|kind| (target, kind)));
    }
    all.extend([PauseClients, LimitMemory { bytes: 1 }, Flush].map(|kind| (Redis, kind)));
    let (table, column, to) = ("records".to_owned(), "value".to_owned(), "varchar".to_owned());
    all.extend(
        [
            LockTable { table: table.clone() },
            LimitConnections { most: 3 },
            EndConnections,
            ReadOnly,
            AlterColumn { table, column, to },
        ]
        .map(|kind| (Postgres, kind)),
    );
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_one_others() {
        assert_eq!(experiment(Scale::Quick, 7), experiment(Scale::Quick, 7));
        assert_ne!(experiment(Scale::Quick, 7).arms, experiment(Scale::Quick, 8).arms);
    }

    #[test]
    fn every_fault_comes_in_an_hour_and_each_is_undone_within_the_load() {
        let hour = Duration::from_secs(3_600);
        for seed in 0..20 {
            let steps = schedule(seed, hour, Scale::Full);
            for (target, kind) in all(&mut Rng::with_seed(0)) {
                // The replica is chosen at random.
                let is_it = |(other, name): &(Target, FaultKind)| {
                    *name == kind && (*other == target || matches!((*other, target), (Api(_), Api(_))))
                };
                assert!(steps.iter().any(|(_, _, faults)| faults.iter().any(is_it)), "{seed}: no {kind} of {target}");
            }
            assert!(steps.iter().all(|(breaks, heals, _)| breaks < heals && *heals + LAST_CALM <= hour));
        }
        assert!(schedule(1, Duration::from_secs(25), Scale::Quick).len() >= 4);
    }
}
