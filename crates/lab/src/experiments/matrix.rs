//! The rows of the fallback matrix as cases of one experiment, with the required answers.

use std::time::Duration;

use stack::{FaultKind, Target};

use crate::{
    experiment::{Action, Arm, AwaitPlan, Condition, Expect, Moment, ProbePlan, Shape, Via},
    hypothesis::{Bound, Hypothesis, Measure, Part},
};

/// How long an entry is fresh here: long enough to inject a fault in the meantime, short enough to wait until it
/// expires.
const FRESH: &str = "5s";
const GROWS_OLD: Duration = Duration::from_millis(5_100);
/// Time limits for the breaker to open, and for answers that may each take their time-out.
const OPENS_WITHIN: Duration = Duration::from_secs(6);
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// The number of answers required if no breaker opens, with the breaker open, and through nginx.
const ENOUGH: u64 = 10;
const OPEN_ANSWERS: u64 = 20;
const NGINX_ANSWERS: u64 = 12;
/// The time from the dependency's recovery to the first good answer, in s.
const RECOVERS_WITHIN: f64 = 2.0;

/// The requested entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    Fresh,
    Old,
    None,
    /// Any state.
    Any,
    /// It becomes unreadable.
    Corrupt,
}

impl Entry {
    fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Old => "old",
            Self::None => "none",
            Self::Any => "any",
            Self::Corrupt => "corrupt",
        }
    }
}

/// One row: what is broken in which order, and the required result.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) faults: Vec<(Target, FaultKind)>,
    pub(super) entry: Entry,
    pub(super) answer: Answer,
    /// In ms: of the slowest answer at first, and of the median once the breaker is open.
    pub(super) first: f64,
    pub(super) open: Option<f64>,
    /// The number of parallel requests: two connections are enough for sequential ones.
    pub(super) at_once: u32,
    /// A record that no other row uses.
    pub(super) id: usize,
}

/// The required answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Hit,
    /// Read from Postgres and stored; a hit from the second request on.
    MissThenHit,
    Stale,
    /// Past Redis.
    Bypass,
    /// 503 with one of the database's codes.
    Unavailable,
    /// Postgres' answer for an id that does not exist, or 503 `database_busy`.
    MissingOrBusy,
    /// Postgres' answer for an id that does not exist.
    Missing,
}

impl Answer {
    fn expect(self) -> Expect {
        let good = Expect::status(&[200]);
        match self {
            Self::Hit => good.cache(&["redis; hit; ttl"]),
            Self::MissThenHit => good.cache(&["redis; hit; ttl", "redis; fwd=uri-miss; stored"]),
            Self::Stale => good.cache(&["redis; hit; detail=stale"]),
            Self::Bypass => good.cache(&["redis; fwd=bypass; detail="]),
            Self::Unavailable => {
                Expect::status(&[503]).code(&["database_unavailable", "database_timeout", "database_not_asked"])
            }
            Self::MissingOrBusy => Expect::status(&[404, 503]).code(&["not_found", "database_busy"]),
            Self::Missing => Expect::status(&[404]).code(&["not_found"]),
        }
    }

    fn says(self) -> &'static str {
        match self {
            Self::Hit => "200, a hit",
            Self::MissThenHit => "200, a miss and then hits",
            Self::Stale => "200, an old entry that says so",
            Self::Bypass => "200, past Redis",
            Self::Unavailable => "503 with a code of the database",
            Self::MissingOrBusy => "what Postgres says, or 503 `database_busy`",
            Self::Missing => "what Postgres says",
        }
    }

    fn asks_for_missing_ids(self) -> bool {
        matches!(self, Self::MissingOrBusy | Self::Missing)
    }
}

impl Row {
    /// `postgres-kill-old`, `redis-pause-postgres-kill`.
    pub(super) fn name(&self) -> String {
        let mut words: Vec<String> =
            self.faults.iter().map(|(target, kind)| format!("{target}-{}", kind.name())).collect();
        if words.is_empty() {
            words.push("all-up".to_owned());
        }
        if !matches!(self.entry, Entry::Any | Entry::Corrupt) {
            words.push(self.entry.word().to_owned());
        }
        words.join("-")
    }

    fn path(&self) -> String {
        if self.answer.asks_for_missing_ids() { "/data/{new}".to_owned() } else { format!("/data/{}", self.id) }
    }

    /// The dependency whose breaker opens, if the row has a hypothesis about the time after that.
    fn breaker(&self) -> Option<Target> {
        self.open.is_some().then(|| if self.answer == Answer::Bypass { Target::Redis } else { Target::Postgres })
    }

    /// As good as with everything up: from Postgres or a fresh entry, and Redis took part.
    fn good(&self) -> Expect {
        if self.answer.asks_for_missing_ids() { Answer::Missing.expect() } else { Answer::MissThenHit.expect() }
    }

    /// The bounded time: if only Redis is broken, the part of an answer's time that Redis took.
    fn part(&self) -> Part {
        if self.answer == Answer::Bypass { Part::Redis } else { Part::Whole }
    }

    fn is_undone(&self) -> bool {
        self.faults.iter().any(|(_, kind)| !kind.is_momentary())
    }

    fn prepare(&self) -> Vec<Action> {
        let forget = || Action::fault(Target::Redis, FaultKind::Flush);
        match self.entry {
            Entry::Any => Vec::new(),
            Entry::None => vec![forget()],
            Entry::Fresh | Entry::Corrupt => vec![self.until_stored()],
            Entry::Old => vec![self.until_stored(), Action::Wait(GROWS_OLD)],
        }
    }

    fn until_stored(&self) -> Action {
        Action::ask(Via::Replica(1), &self.path(), self.good())
    }

    pub(super) fn arm(&self) -> Arm {
        let probe = |name: &str, via| {
            ProbePlan::get(name, via, &self.path()).without_pause().at_once(self.at_once).good(self.good())
        };
        let mut arm = Arm::new(&self.name())
            .on(Shape::default().with("CACHE_FRESH", FRESH))
            .prepared(self.prepare())
            .probe(probe("replica", Via::Replica(1)).between("broken", "through"))
            .probe(probe("nginx", Via::Nginx).between("through", "over"));
        for (target, kind) in &self.faults {
            arm = arm.then(Action::fault(*target, kind.clone()));
        }
        arm = arm.then(Action::mark("broken"));
        let all_of = |count: u64| count * u64::from(self.at_once);
        arm = if let Some(dependency) = self.breaker() {
            let until = Condition::BreakerOpen { replica: Target::Api(1), dependency };
            arm.then(Action::Await(AwaitPlan { until, within: OPENS_WITHIN, or_go_on: true }))
                .then(Action::mark("open"))
                .then(Action::answers("replica", OPEN_ANSWERS, ANSWERED_WITHIN))
                .then(Action::mark("through"))
                .between("first", "broken", "open")
                .between("open", "open", "through")
        } else {
            arm.then(Action::answers("replica", all_of(ENOUGH), ANSWERED_WITHIN))
                .then(Action::mark("through"))
                .between("first", "broken", "through")
        };
        arm = arm
            .then(Action::answers("nginx", all_of(NGINX_ANSWERS), ANSWERED_WITHIN))
            .then(Action::mark("over"))
            .between("judged", "broken", "through")
            // Metrics are read at each mark, but not immediately.
            .window("opened", Moment::at("broken"), Moment::after("over", Duration::from_secs(1)))
            .between("nginx", "through", "over");
        if self.is_undone() {
            arm = arm.then(Action::heal()).probe(probe("back", Via::Replica(1)).at_once(1).between("undo", ""));
        }
        arm
    }

    pub(super) fn hypotheses(&self) -> Vec<Hypothesis> {
        let arm = self.name();
        let one =
            |says: &str, window: &str, measure: Measure, bound| Hypothesis::new(says, &arm, window, measure, bound);
        let unexpected = |probe: &str| Measure::Unexpected { probe: probe.to_owned(), expect: self.answer.expect() };
        let slowest = |probe: &str| Measure::Slowest { probe: probe.to_owned(), part: self.part() };
        let says = self.answer.says();
        let mut all = vec![
            one(&format!("a replica answers {says}"), "judged", unexpected("replica"), Bound::at_most(0.0)),
            one("the first answers are within the bound", "first", slowest("replica"), Bound::at_most(self.first)),
            one(&format!("nginx answers {says}"), "nginx", unexpected("nginx"), Bound::at_most(0.0)),
            one("answers through nginx are within the bound", "nginx", slowest("nginx"), Bound::at_most(self.first)),
        ];
        if let (Some(open), Some(dependency)) = (self.open, self.breaker()) {
            let median = Measure::Median { probe: "replica".to_owned(), part: self.part() };
            let state = Measure::MetricHighest(format!("breaker_state{{dependency=\"{dependency}\"}}"));
            all.push(one(&format!("the breaker of {dependency} opens"), "opened", state, Bound::at_least(2.0)));
            all.push(one("answers are immediate once the breaker is open", "open", median, Bound::at_most(open)));
        }
        if self.answer == Answer::MissingOrBusy {
            let expect = Expect::status(&[503]);
            let not_refused = Measure::Unexpected { probe: "replica".to_owned(), expect };
            all.push(one("some requests are served", "judged", not_refused, Bound::at_least(1.0)));
        }
        if self.entry == Entry::Corrupt {
            let replaced = Measure::Metric("cache_requests_total{result=\"corrupt\"}".to_owned());
            all.push(one("the corrupt entry is found once and replaced", "whole", replaced, Bound::between(1.0, 1.0)));
        }
        if self.is_undone() {
            let back = Measure::Recover("back".to_owned());
            all.push(one(
                "the first good answer comes within 2 s of the recovery",
                "whole",
                back,
                Bound::at_most(RECOVERS_WITHIN),
            ));
        }
        all
    }
}

/// Postgres refuses writes: a separate kind of row, because it concerns writes.
pub(super) fn read_only() -> (Arm, Vec<Hypothesis>) {
    let name = "postgres-read-only";
    let put = |probe: &str| ProbePlan::get(probe, Via::Replica(1), "/data/900").without_pause().put();
    let arm = Arm::new(name)
        .on(Shape::default().with("CACHE_FRESH", FRESH))
        .probe(put("write").between("broken", "over"))
        .probe(
            ProbePlan::get("read", Via::Replica(1), "/data/{new}")
                .without_pause()
                .good(Answer::Missing.expect())
                .between("broken", "over"),
        )
        .probe(put("back").between("undo", ""))
        .then(Action::fault(Target::Postgres, FaultKind::ReadOnly))
        .then(Action::mark("broken"))
        .then(Action::answers("write", ENOUGH, ANSWERED_WITHIN))
        .then(Action::answers("read", ENOUGH, ANSWERED_WITHIN))
        .then(Action::mark("over"))
        .then(Action::heal())
        .between("judged", "broken", "over");
    let one = |says: &str, window: &str, measure, bound| Hypothesis::new(says, name, window, measure, bound);
    let unexpected = |probe: &str, expect| Measure::Unexpected { probe: probe.to_owned(), expect };
    let slowest = |probe: &str| Measure::Slowest { probe: probe.to_owned(), part: Part::Whole };
    let refused = Expect::status(&[503]).code(&["database_read_only"]);
    let hypotheses = vec![
        one("writes get 503 `database_read_only`", "judged", unexpected("write", refused), Bound::at_most(0.0)),
        one("refused writes are answered within 300 ms", "judged", slowest("write"), Bound::at_most(300.0)),
        one("reads are not affected", "judged", unexpected("read", Answer::Missing.expect()), Bound::at_most(0.0)),
        one("reads are answered within 300 ms", "judged", slowest("read"), Bound::at_most(300.0)),
        one(
            "a write succeeds within 2 s of the recovery",
            "whole",
            Measure::Recover("back".to_owned()),
            Bound::at_most(RECOVERS_WITHIN),
        ),
    ];
    (arm, hypotheses)
}
