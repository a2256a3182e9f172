//! What a fault, or its end, does to the replicas: their metrics, read every 20 ms from shortly before it until enough is
//! known. A time is that of the first reading that shows the effect, so it is late by 20 ms at most.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use stack::{ReplicaEndpoint, Target};
use time::OffsetDateTime;

use super::{metrics::Scrape, replica::Breaker};

const LOOK_EVERY: Duration = Duration::from_millis(20);
/// After the first seconds things no longer change by milliseconds.
const LATER_EVERY: Duration = Duration::from_millis(100);
const EARLY: Duration = Duration::from_secs(5);
/// A replica that does not answer says nothing in this look.
const PATIENCE: Duration = Duration::from_millis(150);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Effect {
    Bypass,
    Stale,
    Error,
    Shed,
    RedisBreakerOpen,
    PostgresBreakerOpen,
    Hit,
    RedisBreakerClosed,
    PostgresBreakerClosed,
}

impl Effect {
    const OF_A_FAULT: [Self; 6] =
        [Self::Bypass, Self::Stale, Self::Error, Self::Shed, Self::RedisBreakerOpen, Self::PostgresBreakerOpen];
    const OF_AN_END: [Self; 3] = [Self::Hit, Self::RedisBreakerClosed, Self::PostgresBreakerClosed];

    fn words(self) -> &'static str {
        match self {
            Self::Bypass => "first bypass of Redis",
            Self::Stale => "first stale answer",
            Self::Error => "first 5xx",
            Self::Shed => "first request shed",
            Self::RedisBreakerOpen => "breaker of Redis open",
            Self::PostgresBreakerOpen => "breaker of Postgres open",
            Self::Hit => "first cache hit",
            Self::RedisBreakerClosed => "breakers of Redis closed",
            Self::PostgresBreakerClosed => "breakers of Postgres closed",
        }
    }

    /// Whether `now` shows it to one that read `first` at the beginning.
    fn shows(self, first: &Scrape, now: &Scrape) -> bool {
        let grew = |name: &str, labels: &[(&str, &str)]| now.sum(name, labels) > first.sum(name, labels);
        let cache = |result: &str| grew("cache_requests_total", &[("result", result)]);
        let opened = |name: &str| Breaker::of(now, name) == Some(Breaker::Open);
        let closed = |name: &str| Breaker::of(now, name) == Some(Breaker::Closed);
        match self {
            Self::Bypass => cache("bypass"),
            Self::Stale => cache("stale"),
            Self::Hit => cache("hit"),
            Self::Shed => grew("requests_shed_total", &[]),
            Self::Error => {
                let count = |scrape: &Scrape| {
                    scrape
                        .sum_where("http_requests_total", "http_response_status_code", |status| status.starts_with('5'))
                };
                count(now) > count(first)
            }
            Self::RedisBreakerOpen => opened("redis"),
            Self::PostgresBreakerOpen => opened("postgres"),
            Self::RedisBreakerClosed => closed("redis"),
            Self::PostgresBreakerClosed => closed("postgres"),
        }
    }

    /// It is there when all replicas show it, not when one does.
    fn is_of_all(self) -> bool {
        matches!(self, Self::RedisBreakerClosed | Self::PostgresBreakerClosed)
    }

    /// Whether it is worth a word: a breaker that was never open does not close, a cache that was never passed is not back.
    fn concerns(self, first: &Scrape) -> bool {
        let open = |name: &str| Breaker::of(first, name).is_some_and(|breaker| breaker != Breaker::Closed);
        match self {
            Self::RedisBreakerClosed | Self::Hit => open("redis"),
            Self::PostgresBreakerClosed => open("postgres"),
            Self::RedisBreakerOpen => !open("redis"),
            Self::PostgresBreakerOpen => !open("postgres"),
            Self::Bypass | Self::Stale | Self::Error | Self::Shed => true,
        }
    }
}

#[derive(Debug, Default)]
struct Seen {
    first: BTreeMap<(Effect, Target), OffsetDateTime>,
    /// Which replicas could show it.
    concerned: BTreeMap<Effect, Vec<Target>>,
}

/// Reads until it is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Observer {
    /// Looks for what a fault does. Returns when every replica was asked once.
    pub(super) fn of_a_fault(replicas: &[ReplicaEndpoint]) -> Self {
        Self::start(replicas, &Effect::OF_A_FAULT)
    }

    /// Looks for what the end of a fault does.
    pub(super) fn of_an_end(replicas: &[ReplicaEndpoint]) -> Self {
        Self::start(replicas, &Effect::OF_AN_END)
    }

    fn start(replicas: &[ReplicaEndpoint], effects: &'static [Effect]) -> Self {
        let observer = Self { seen: Arc::default(), stop: Arc::default() };
        let read_once = Arc::new(AtomicUsize::new(0));
        let mut started = 0;
        for replica in replicas {
            let (url, name) = (replica.metrics_url(), replica.name);
            let (seen, stop, read) = (observer.seen.clone(), observer.stop.clone(), read_once.clone());
            let look = move || observe(&url, name, effects, &seen, &stop, &read);
            started += usize::from(std::thread::Builder::new().name("effects".to_owned()).spawn(look).is_ok());
        }
        let end = Instant::now() + PATIENCE + LOOK_EVERY;
        while read_once.load(Ordering::Acquire) < started && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        observer
    }

    /// What was seen so far, with the time since `moment`.
    pub(super) fn report(&self, moment: OffsetDateTime) -> Vec<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<(OffsetDateTime, Effect)> = Vec::new();
        for (effect, concerned) in &seen.concerned {
            let times: Vec<OffsetDateTime> =
                concerned.iter().filter_map(|name| seen.first.get(&(*effect, *name)).copied()).collect();
            let at = if effect.is_of_all() {
                times.iter().max().filter(|_| times.len() == concerned.len()).copied()
            } else {
                times.iter().min().copied()
            };
            found.extend(at.map(|at| (at, *effect)));
        }
        found.sort();
        let line = |(at, effect): (OffsetDateTime, Effect)| format!("{} after {}", effect.words(), span(at - moment));
        found.into_iter().map(line).collect()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn observe(
    url: &str,
    name: Target,
    effects: &[Effect],
    seen: &Mutex<Seen>,
    stop: &AtomicBool,
    read_once: &AtomicUsize,
) {
    let start = Instant::now();
    let mut first: Option<Scrape> = None;
    let mut open: Vec<Effect> = Vec::new();
    let mut has_looked = false;
    while !stop.load(Ordering::Relaxed) {
        let (moment, at) = (OffsetDateTime::now_utc(), Instant::now());
        let scrape = stack::get(url, PATIENCE).ok().map(|answer| Scrape::parse(&answer.body, at));
        let mut seen_now = seen.lock().unwrap_or_else(PoisonError::into_inner);
        match (&first, scrape) {
            (None, Some(scrape)) => {
                open = effects.iter().copied().filter(|effect| effect.concerns(&scrape)).collect();
                for effect in &open {
                    seen_now.concerned.entry(*effect).or_default().push(name);
                }
                first = Some(scrape);
            }
            (Some(first), Some(now)) => open.retain(|effect| {
                let shows = effect.shows(first, &now);
                if shows {
                    seen_now.first.insert((*effect, name), moment);
                }
                !shows
            }),
            (_, None) => {}
        }
        drop(seen_now);
        if !std::mem::replace(&mut has_looked, true) {
            read_once.fetch_add(1, Ordering::Release);
        }
        std::thread::sleep(if start.elapsed() < EARLY { LOOK_EVERY } else { LATER_EVERY });
    }
}

/// `41 ms`, `0.8 s`.
pub(super) fn span(time: time::Duration) -> String {
    let ms = time.as_seconds_f64().max(0.0) * 1e3;
    match ms {
        _ if ms < 0.95 => "less than 1 ms".to_owned(),
        _ if ms < 99.5 => format!("{ms:.0} ms"),
        _ if ms < 9_950.0 => format!("{:.1} s", ms / 1e3),
        _ => format!("{:.0} s", ms / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(bypass: u32, hit: u32, breaker: u32) -> Scrape {
        let text = format!(
            "cache_requests_total{{result=\"bypass\"}} {bypass}\ncache_requests_total{{result=\"hit\"}} {hit}\n\
             breaker_state{{dependency=\"redis\"}} {breaker}\nbreaker_state{{dependency=\"postgres\"}} 0\n"
        );
        Scrape::parse(&text, Instant::now())
    }

    #[test]
    fn an_effect_is_what_was_not_there_before() {
        let (before, after) = (scrape(3, 5, 0), scrape(4, 5, 2));
        let shown: Vec<Effect> = Effect::OF_A_FAULT
            .into_iter()
            .filter(|effect| effect.concerns(&before) && effect.shows(&before, &after))
            .collect();
        assert_eq!(shown, [Effect::Bypass, Effect::RedisBreakerOpen]);
        let ended: Vec<Effect> = Effect::OF_AN_END
            .into_iter()
            .filter(|effect| effect.concerns(&after) && effect.shows(&after, &scrape(4, 6, 0)))
            .collect();
        assert_eq!(
            ended,
            [Effect::Hit, Effect::RedisBreakerClosed],
            "no word of Postgres, whose breaker stayed closed"
        );
    }

    #[test]
    fn breakers_are_closed_when_the_last_one_is() {
        let moment = OffsetDateTime::UNIX_EPOCH;
        let effect = Effect::RedisBreakerClosed;
        let observer = Observer { seen: Arc::default(), stop: Arc::default() };
        let at = |ms: i64| moment + time::Duration::milliseconds(ms);
        {
            let mut seen = observer.seen.lock().unwrap();
            seen.concerned.insert(effect, vec![Target::Api(1), Target::Api(2)]);
            seen.first.insert((effect, Target::Api(1)), at(41));
        }
        assert!(observer.report(moment).is_empty());
        observer.seen.lock().unwrap().first.insert((effect, Target::Api(2)), at(820));
        assert_eq!(observer.report(moment), ["breakers of Redis closed after 0.8 s"]);
    }

    #[test]
    fn times_are_as_long_as_they_are_exact() {
        let of = |ms: f64| span(time::Duration::seconds_f64(ms / 1e3));
        assert_eq!([of(0.2), of(41.2), of(820.0), of(12_300.0)], ["less than 1 ms", "41 ms", "0.8 s", "12 s"]);
    }
}
