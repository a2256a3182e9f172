//! The schedule of faults: a pure function of the seed, so that a run can be repeated.

use std::time::Duration;

use fastrand::Rng;
use stack::{ServerFault, Target};

use super::fault::Fault;

/// One or two faults, how long they last, and the healthy time after them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) faults: Vec<Fault>,
    pub(super) hold: Duration,
    pub(super) calm: Duration,
}

/// The options of a schedule: the kinds of faults, and the healthy time after each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Aim {
    /// Only these, by their words; empty: every kind that needs no proxy.
    pub only: Vec<String>,
    /// `None`: a random time.
    pub calm: Option<Duration>,
}

impl Aim {
    /// The names by which a fault can be selected, in alphabetical order.
    #[must_use]
    pub fn words() -> Vec<String> {
        let mut words: Vec<String> = all(&mut Rng::with_seed(0), 1).into_iter().flatten().map(Fault::word).collect();
        words.sort_unstable();
        words.dedup();
        words
    }

    fn has(&self, faults: &[Fault]) -> bool {
        match self.only.is_empty() {
            // Everything else comes without a proxy in between, as it does in operation.
            true => !faults.iter().any(|fault| fault.needs_a_proxy()),
            false => faults.iter().all(|fault| self.only.contains(&fault.word())),
        }
    }
}

/// All steps that fit into `time`, and at least one. The faults are drawn like cards from a shuffled deck: each comes
/// once before any comes again.
pub(super) fn schedule(seed: u64, time: Duration, replicas: u32, aim: &Aim) -> Vec<Step> {
    let mut rng = Rng::with_seed(seed);
    let mut deck = Vec::new();
    let mut steps = Vec::new();
    let mut left = time;
    loop {
        if deck.is_empty() {
            deck = all(&mut rng, replicas);
            deck.retain(|faults| aim.has(faults));
            rng.shuffle(&mut deck);
        }
        let Some(faults) = deck.pop() else { return steps };
        let mut step = pace(&mut rng, time, faults);
        step.calm = aim.calm.unwrap_or(step.calm);
        let Some(rest) = left.checked_sub(step.hold + step.calm + OVERHEAD) else { return steps };
        left = rest;
        steps.push(step);
    }
}

/// The time to inject a fault and to undo it.
const OVERHEAD: Duration = Duration::from_millis(300);

/// Below this a recording is short, and every fault is held as briefly as possible.
pub(super) const SHORT: Duration = Duration::from_secs(60);

fn pace(rng: &mut Rng, time: Duration, faults: Vec<Fault>) -> Step {
    let mut between = |from: u64, to: u64| Duration::from_millis(rng.u64(from..to));
    // nginx asks another replica after one second: a replica that is paused for longer resumes with requests that were
    // answered elsewhere.
    let (hold, calm) = match (faults.iter().any(|fault| is_paused_replica(*fault)), time < SHORT) {
        (true, true) => (between(1_200, 1_800), between(400, 900)),
        (true, false) => (between(1_200, 3_500), between(1_000, 2_500)),
        (false, true) => (between(200, 700), between(400, 900)),
        (false, false) => (between(300, 2_500), between(1_000, 2_500)),
    };
    Step { faults, hold, calm }
}

fn is_paused_replica(fault: Fault) -> bool {
    matches!(fault, Fault::Server(ServerFault::Pause, Target::Api(_)))
}

/// Every kind once, and a paused replica in each of its combinations, because it is the source of late writes.
fn all(rng: &mut Rng, replicas: u32) -> Vec<Vec<Fault>> {
    use ServerFault::{Cut, Kill, Pause, Stop};
    let mut replica = || Target::Api(rng.u32(1..=replicas.max(1)));
    let paused = [Fault::Server(Pause, replica()), Fault::Server(Pause, replica()), Fault::Server(Pause, replica())];
    let [alone, flushed, without_redis] = paused;
    let replicas = [Fault::Server(Kill, replica()), Fault::Server(Stop, replica()), Fault::Server(Cut, replica())];
    let servers = [Target::Redis, Target::Postgres]
        .into_iter()
        .flat_map(|target| [Kill, Stop, Pause, Cut].into_iter().map(move |kind| Fault::Server(kind, target)));
    let one = servers.chain(replicas).chain([
        alone,
        Fault::Flush,
        Fault::HoldWrites,
        Fault::RefuseWrites,
        Fault::ReadOnly,
        Fault::Retype,
        Fault::Terminate,
        Fault::Late,
    ]);
    let mut all: Vec<Vec<Fault>> = one.map(|fault| vec![fault]).collect();
    all.push(vec![flushed, Fault::Flush]);
    all.push(vec![without_redis, Fault::Server(Kill, Target::Redis)]);
    all.push(vec![Fault::Poison(rng.u32(..))]);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(120);

    fn any() -> Aim {
        Aim::default()
    }

    #[test]
    fn an_aimed_schedule_has_nothing_else() {
        let aim = Aim { only: vec!["pause-api".to_owned(), "flush".to_owned()], calm: Some(Duration::from_secs(1)) };
        let steps = schedule(7, LONG, 3, &aim);
        assert!(steps.len() > 10, "{}", steps.len());
        for step in steps {
            assert_eq!(step.calm, Duration::from_secs(1));
            assert!(step.faults.iter().all(|fault| aim.only.contains(&fault.word())), "{step:?}");
        }
        assert!(Aim::words().contains(&"hold-writes".to_owned()), "{:?}", Aim::words());
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        assert_eq!(schedule(7, LONG, 3, &any()), schedule(7, LONG, 3, &any()));
        assert_ne!(schedule(7, LONG, 3, &any()), schedule(8, LONG, 3, &any()));
    }

    #[test]
    fn two_minutes_hold_every_kind() {
        for seed in 0..50 {
            let steps = schedule(seed, LONG, 3, &any());
            let kinds = all(&mut Rng::with_seed(0), 3).iter().filter(|faults| any().has(faults)).count();
            assert!(steps.len() >= kinds, "{} of {kinds}", steps.len());
        }
    }

    #[test]
    fn steps_fit_into_their_time() {
        for seconds in [1, 10, 20, 59, 60, 3_600] {
            let time = Duration::from_secs(seconds);
            let sum: Duration = schedule(1, time, 3, &any()).iter().map(|step| step.hold + step.calm + OVERHEAD).sum();
            assert!(sum <= time, "{sum:?} of {time:?}");
        }
    }
}
