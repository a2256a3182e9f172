//! An admission limit that follows how long requests wait: additive increase, multiplicative decrease.
//!
//! A fixed limit is right for one machine. Here the signal is the time that a request waited before the process began with it
//! (see [`crate::waiting`]), not the time that it took: a slow dependency makes requests take longer, and says nothing about
//! what this process can do.
//!
//! # In the order of time
//! ## Admit
//! [`AdaptiveLimit::try_admit`] refuses when as many requests are in flight as the limit says.
//! ## Increase
//! A request that waited no longer than `target`, with at least half of the places taken, raises the limit by 1 ÷ limit: by
//! about 1 while so many requests pass as there are places.
//! ## Decrease
//! A request that waited longer lowers the limit by a tenth, at most once per `target`: the next decrease waits for the
//! effect of this one.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::admission::Overloaded;

/// How much is left of the limit after a decrease.
const DECREASE: f64 = 0.9;

/// Within which bounds the limit moves, and what it holds the waiting time to.
#[derive(Debug, Clone, Copy)]
pub struct AdaptiveConfig {
    /// The smallest limit, from 1: so many are admitted however long they wait.
    pub least: usize,
    /// Where the limit begins.
    pub first: usize,
    /// The largest limit.
    pub most: usize,
    /// The longest waiting time that needs no decrease.
    pub target: Duration,
}

/// Clones share the places.
#[derive(Debug, Clone)]
pub struct AdaptiveLimit(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: AdaptiveConfig,
    in_flight: AtomicUsize,
    limit: AtomicUsize,
    law: Mutex<Law>,
}

#[derive(Debug)]
struct Law {
    limit: f64,
    decreased: Option<Instant>,
}

/// A request's place; dropping it frees the place.
#[derive(Debug)]
pub struct AdaptivePlace(Arc<Inner>);

impl AdaptiveLimit {
    /// Bounds that contradict each other are put in order: `1 <= least <= first <= most`.
    pub fn new(config: AdaptiveConfig) -> Self {
        let least = config.least.max(1);
        let most = config.most.max(least);
        let first = config.first.clamp(least, most);
        let config = AdaptiveConfig { least, first, most, ..config };
        let law = Mutex::new(Law { limit: first as f64, decreased: None });
        Self(Arc::new(Inner { config, in_flight: AtomicUsize::new(0), limit: AtomicUsize::new(first), law }))
    }

    /// Takes a place, without waiting. `waited`: how long the request has waited before, where that is known.
    ///
    /// # Errors
    /// [`Overloaded`] when none is free.
    pub fn try_admit(&self, now: Instant, waited: Option<Duration>) -> Result<AdaptivePlace, Overloaded> {
        if let Some(waited) = waited {
            self.learn(now, waited);
        }
        let limit = self.limit();
        let admit = |taken: usize| (taken < limit).then_some(taken + 1);
        match self.0.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, admit) {
            Ok(_) => Ok(AdaptivePlace(Arc::clone(&self.0))),
            Err(_) => Err(Overloaded),
        }
    }

    /// How many places are taken now; more than [`Self::limit`] shortly after a decrease.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// How many places there are now.
    pub fn limit(&self) -> usize {
        self.0.limit.load(Ordering::Relaxed)
    }

    fn learn(&self, now: Instant, waited: Duration) {
        let config = &self.0.config;
        let mut law = self.0.law.lock().unwrap_or_else(PoisonError::into_inner);
        if waited > config.target {
            if law.decreased.is_some_and(|last| now.saturating_duration_since(last) < config.target) {
                return;
            }
            law.decreased = Some(now);
            law.limit = (law.limit * DECREASE).max(config.least as f64);
        } else if self.in_flight() * 2 >= self.limit() {
            law.limit = (law.limit + law.limit.recip()).min(config.most as f64);
        }
        self.0.limit.store(law.limit as usize, Ordering::Relaxed);
    }
}

impl Drop for AdaptivePlace {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TARGET: Duration = Duration::from_millis(100);
    const CONFIG: AdaptiveConfig = AdaptiveConfig { least: 10, first: 100, most: 1_000, target: TARGET };

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds_and_no_more_are_admitted_than_it_says(
            events in prop::collection::vec((0_u64..200, prop::option::of(0_u64..500), any::<bool>()), 1..400),
            (least, first, most) in (0_usize..50, 0_usize..50, 0_usize..50),
        ) {
            let limit = AdaptiveLimit::new(AdaptiveConfig { least, first, most, target: TARGET });
            let (least, most) = (least.max(1), most.max(least.max(1)));
            let mut now = Instant::now();
            let mut places = Vec::new();
            for (pause, waited, ends) in events {
                now += Duration::from_millis(pause);
                let before = limit.in_flight();
                match limit.try_admit(now, waited.map(Duration::from_millis)) {
                    Ok(place) => {
                        prop_assert!(before < limit.limit());
                        places.push(place);
                    }
                    Err(Overloaded) => prop_assert!(before >= limit.limit()),
                }
                prop_assert!((least..=most).contains(&limit.limit()));
                if ends {
                    places.pop();
                }
                prop_assert_eq!(limit.in_flight(), places.len());
            }
        }
    }

    #[test]
    fn long_waits_lower_it_to_the_least_and_no_faster_than_their_effect_shows() {
        let limit = AdaptiveLimit::new(CONFIG);
        let start = Instant::now();
        for _ in 0..50 {
            drop(limit.try_admit(start, Some(2 * TARGET)));
        }
        assert_eq!(limit.limit(), 90, "one decrease for all that waited at the same time");
        for step in 1..100 {
            drop(limit.try_admit(start + TARGET * step, Some(2 * TARGET)));
        }
        assert_eq!(limit.limit(), CONFIG.least);
    }

    #[test]
    fn it_rises_only_while_its_places_are_used() {
        let limit = AdaptiveLimit::new(CONFIG);
        let now = Instant::now();
        for _ in 0..1_000 {
            drop(limit.try_admit(now, Some(Duration::ZERO)));
        }
        assert_eq!(limit.limit(), 100, "nearly all places are free");
        let _taken: Vec<_> = (0..60).map(|_| limit.try_admit(now, None).expect("free")).collect();
        for _ in 0..1_000 {
            drop(limit.try_admit(now, Some(Duration::ZERO)));
        }
        assert!((105..=125).contains(&limit.limit()), "{}", limit.limit());
    }

    #[test]
    fn without_a_known_waiting_time_it_is_a_fixed_limit() {
        let limit = AdaptiveLimit::new(CONFIG);
        let now = Instant::now();
        let _places: Vec<_> = (0..100).map(|_| limit.try_admit(now, None).expect("free")).collect();
        assert_eq!(limit.try_admit(now, None).map(drop), Err(Overloaded));
    }
}
