//! What a fault, or its end, does to the replicas: their metrics, read every 20 ms from shortly before it until enough is
//! known. A time is that of the first reading that shows the effect, so it is late by 20 ms at most.
//!
//! An effect is told as one of the fault when a fault of that server can cause it, when it was not there before, and when it
//! came before the fault was undone. For failed answers that is not proof, so their problem code and their number are told too.

use std::{
    collections::{BTreeMap, BTreeSet},
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
const REQUESTS: &str = "http_requests_total";
const STATUS: &str = "http_response_status_code";
/// What clients ask for.
const ROUTES: [&str; 2] = ["/data", "/data/{id}"];
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

    /// Whether a fault of `target`, or its end, can cause it in this replica.
    fn can_come_of(self, target: Target, replica: Target) -> bool {
        match (self, target) {
            (_, Target::Nginx) => false,
            (Self::Error | Self::Shed, _) => true,
            (_, Target::Api(_)) => replica == target,
            (Self::Bypass | Self::Hit | Self::RedisBreakerOpen | Self::RedisBreakerClosed, _) => {
                target == Target::Redis
            }
            (Self::Stale | Self::PostgresBreakerOpen | Self::PostgresBreakerClosed, _) => target == Target::Postgres,
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
            Self::Error => failed(now) > failed(first),
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

/// 5xx to clients. Health checks have routes of their own, and fail for reasons of their own.
fn failed(scrape: &Scrape) -> f64 {
    answers(scrape, |status| status.starts_with('5'))
}

fn answers(scrape: &Scrape, fits: impl Fn(&str) -> bool) -> f64 {
    ROUTES.iter().map(|route| scrape.sum_where(REQUESTS, &[("http_route", route)], STATUS, &fits)).sum()
}

/// The problem code that grew most, of those of 5xx.
fn code(first: &Scrape, now: &Scrape) -> Option<String> {
    let of = |scrape: &Scrape, code: &str| -> f64 {
        let sum = |route: &&str| {
            let labels = [("http_route", *route), ("code", code)];
            scrape.sum_where(REQUESTS, &labels, STATUS, |status| status.starts_with('5'))
        };
        ROUTES.iter().map(sum).sum()
    };
    let codes: BTreeSet<&str> = now.labels(REQUESTS, "code").filter(|code| !code.is_empty()).collect();
    let grown =
        codes.into_iter().map(|code| (of(now, code) - of(first, code), code)).filter(|(growth, _)| *growth > 0.0);
    grown.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, code)| code.to_owned())
}

/// Answers to clients since the beginning.
#[derive(Debug, Clone, Copy, Default)]
struct Answers {
    failed: f64,
    all: f64,
}

#[derive(Debug, Default)]
struct Seen {
    first: BTreeMap<(Effect, Target), OffsetDateTime>,
    /// Which replicas could show it.
    concerned: BTreeMap<Effect, Vec<Target>>,
    /// The problem code of each replica's first failures.
    codes: BTreeMap<Target, String>,
    answers: BTreeMap<Target, Answers>,
}

/// Reads until it is dropped.
#[derive(Debug)]
pub(super) struct Observer {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
}

impl Observer {
    /// Looks for what a fault of `target` does. Returns when every replica was asked once. Where answers fail already, further
    /// failures say nothing.
    pub(super) fn of_a_fault(replicas: &[ReplicaEndpoint], target: Target, is_failing: bool) -> Self {
        Self::start(replicas, move |replica| {
            let is_new = |effect: &Effect| !(is_failing && *effect == Effect::Error);
            let can_be = |effect: &Effect| is_new(effect) && effect.can_come_of(target, replica);
            Effect::OF_A_FAULT.into_iter().filter(can_be).collect()
        })
    }

    /// Looks for what the end of faults of these servers does.
    pub(super) fn of_an_end(replicas: &[ReplicaEndpoint], targets: &[Target]) -> Self {
        Self::start(replicas, |replica| {
            let can_be = |effect: &Effect| targets.iter().any(|target| effect.can_come_of(*target, replica));
            Effect::OF_AN_END.into_iter().filter(can_be).collect()
        })
    }

    fn start(replicas: &[ReplicaEndpoint], effects: impl Fn(Target) -> Vec<Effect>) -> Self {
        let observer = Self { seen: Arc::default(), stop: Arc::default() };
        let read_once = Arc::new(AtomicUsize::new(0));
        let mut started = 0;
        for replica in replicas {
            let (url, name) = (replica.metrics_url(), replica.name);
            let (seen, stop, read) = (observer.seen.clone(), observer.stop.clone(), read_once.clone());
            let effects = effects(name);
            let look = move || observe(&url, name, &effects, &seen, &stop, &read);
            started += usize::from(std::thread::Builder::new().name("effects".to_owned()).spawn(look).is_ok());
        }
        let end = Instant::now() + PATIENCE + LOOK_EVERY;
        while read_once.load(Ordering::Acquire) < started && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(1));
        }
        observer
    }

    /// What was seen so far, or before `end`, with the time since `moment`.
    pub(super) fn report(&self, moment: OffsetDateTime, end: Option<OffsetDateTime>) -> Vec<String> {
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
            found.extend(at.filter(|at| end.is_none_or(|end| *at <= end)).map(|at| (at, *effect)));
        }
        found.sort();
        let line = |(at, effect): (OffsetDateTime, Effect)| {
            let more = if effect == Effect::Error { seen.failures() } else { String::new() };
            format!("{} after {}{more}", effect.words(), span(at - moment))
        };
        found.into_iter().map(line).collect()
    }
}

impl Seen {
    /// ` (database_timeout), 3 of 2650 answers`
    fn failures(&self) -> String {
        let first = self.first.iter().filter(|((effect, _), _)| *effect == Effect::Error).min_by_key(|(_, at)| **at);
        let code = first.and_then(|((_, replica), _)| self.codes.get(replica));
        let sum = |of: fn(&Answers) -> f64| self.answers.values().map(of).sum::<f64>();
        let code = code.map(|code| format!(" ({code})")).unwrap_or_default();
        format!("{code}, {:.0} of {:.0} answers", sum(|answers| answers.failed), sum(|answers| answers.all))
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
            (Some(first), Some(now)) => {
                open.retain(|effect| {
                    let shows = effect.shows(first, &now);
                    if shows {
                        seen_now.first.insert((*effect, name), moment);
                        let code = (*effect == Effect::Error).then(|| code(first, &now)).flatten();
                        code.map(|code| seen_now.codes.insert(name, code));
                    }
                    !shows
                });
                let grown = |of: &dyn Fn(&Scrape) -> f64| (of(&now) - of(first)).max(0.0);
                let all = grown(&|scrape| answers(scrape, |_| true));
                seen_now.answers.insert(name, Answers { failed: grown(&failed), all });
            }
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
        assert!(observer.report(moment, None).is_empty());
        observer.seen.lock().unwrap().first.insert((effect, Target::Api(2)), at(820));
        assert_eq!(observer.report(moment, None), ["breakers of Redis closed after 0.8 s"]);
        assert!(observer.report(moment, Some(at(500))).is_empty(), "it came when the fault was over");
    }

    #[test]
    fn only_failed_answers_to_clients_count_and_their_code_is_told() {
        let scrape = |data: u32, health: u32| {
            let line = |route: &str, status: u16, code: &str, count: u32| {
                format!(
                    "http_requests_total{{http_request_method=\"GET\",http_route=\"{route}\",\
                     http_response_status_code=\"{status}\",code=\"{code}\"}} {count}\n"
                )
            };
            let text = line("/data/{id}", 200, "", 90)
                + &line("/data/{id}", 503, "database_timeout", data)
                + &line("/health", 503, "", health);
            Scrape::parse(&text, Instant::now())
        };
        let first = scrape(1, 0);
        assert!(!Effect::Error.shows(&first, &scrape(1, 7)), "a health check is no answer to a client");
        let now = scrape(3, 7);
        assert!(Effect::Error.shows(&first, &now));
        assert_eq!(code(&first, &now).as_deref(), Some("database_timeout"));
        let mut seen = Seen::default();
        let moment = OffsetDateTime::UNIX_EPOCH;
        seen.first.insert((Effect::Error, Target::Api(1)), moment);
        seen.codes.insert(Target::Api(1), "database_timeout".to_owned());
        seen.answers.insert(Target::Api(1), Answers { failed: 2.0, all: 40.0 });
        seen.answers.insert(Target::Api(2), Answers { failed: 0.0, all: 60.0 });
        assert_eq!(seen.failures(), " (database_timeout), 2 of 100 answers");
    }

    #[test]
    fn an_effect_is_one_that_this_fault_can_have() {
        let of = |target: Target, replica: Target| -> Vec<Effect> {
            Effect::OF_A_FAULT.into_iter().filter(|effect| effect.can_come_of(target, replica)).collect()
        };
        let (one, two) = (Target::Api(1), Target::Api(2));
        assert_eq!(of(Target::Redis, one), [Effect::Bypass, Effect::Error, Effect::Shed, Effect::RedisBreakerOpen]);
        assert_eq!(
            of(Target::Postgres, one),
            [Effect::Stale, Effect::Error, Effect::Shed, Effect::PostgresBreakerOpen]
        );
        assert_eq!(of(one, one), Effect::OF_A_FAULT);
        assert_eq!(of(one, two), [Effect::Error, Effect::Shed], "the others take its load");
        assert_eq!(of(Target::Nginx, one), []);
    }

    #[test]
    fn times_are_as_long_as_they_are_exact() {
        let of = |ms: f64| span(time::Duration::seconds_f64(ms / 1e3));
        assert_eq!([of(0.2), of(41.2), of(820.0), of(12_300.0)], ["less than 1 ms", "41 ms", "0.8 s", "12 s"]);
    }
}
