//! Correct histories are accepted, and each kind of mutation is detected.

mod model;
mod mutations;

use proptest::prelude::*;

use self::{model::correct, mutations::MUTATIONS};
use super::check;
use crate::history::{Asked, Broken, Call, Head, History, Item, Last, Outcome, Promise};

const MS: u64 = 1_000;

fn head() -> Head {
    Head { schema: 1, seed: 0, bound_us: 2_000 * MS, window_us: 1_000 * MS, near_us: 0 }
}

/// A history written by hand: one record, number 1, with version 1.
struct Script {
    history: History,
}

impl Script {
    fn new() -> Self {
        let mut history = History::new(head());
        history.initial.push(item(1, "initial"));
        Self { history }
    }

    fn call(mut self, client: u32, (begin, end): (u64, u64), outcome: Outcome, asked: Asked) -> Self {
        let call = Call {
            client,
            via: "nginx".to_owned(),
            asked,
            begin: begin * MS,
            end: end * MS,
            outcome,
            status: 0,
            instance: None,
            note: None,
        };
        self.history.calls.push(call);
        self
    }

    fn read(self, client: u32, at: u64, answer: Option<Item>) -> Self {
        self.call(client, (at, at + 1), Outcome::Ok, Asked::Read { id: 1, answer, stale: false })
    }

    fn put(self, when: (u64, u64), value: &str, version: i64) -> Self {
        let answer = Some(item(version, value));
        self.call(9, when, Outcome::Ok, Asked::Replace { id: 1, expected: None, value: value.to_owned(), answer })
    }

    fn put_in_doubt(self, when: (u64, u64), value: &str) -> Self {
        let asked = Asked::Replace { id: 1, expected: None, value: value.to_owned(), answer: None };
        self.call(8, when, Outcome::Doubt, asked)
    }

    fn broken(mut self, (from, to): (u64, u64), redis: bool) -> Self {
        let what = "something".to_owned();
        let (from, to, repaired) = (from * MS, to * MS, to * MS + 3_000 * MS);
        self.history.broken.push(Broken { what, from, to, repaired, redis, ended: false, late_only: false });
        self
    }

    fn last(mut self, item: Option<Item>) -> Self {
        self.history.last.push(Last { at: "postgres".to_owned(), id: 1, item, silent: false });
        self
    }

    #[track_caller]
    fn breaks(&self, promise: Promise) {
        let verdict = check(&self.history);
        assert!(verdict.count(promise) > 0, "{:#?}", verdict.violations);
        assert!(verdict.violations.iter().all(|violation| violation.promise == promise), "{:#?}", verdict.violations);
    }

    #[track_caller]
    fn holds(&self) {
        let verdict = check(&self.history);
        assert!(verdict.violations.is_empty(), "{:#?}", verdict.violations);
    }
}

fn item(version: i64, value: &str) -> Item {
    Item { id: 1, version, value: value.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn correct_histories_are_accepted(seed: u64) {
        let history = correct(seed);
        let verdict = check(&history);
        prop_assert!(verdict.violations.is_empty(), "{:#?} in {history:#?}", verdict.violations);
        prop_assert!(verdict.strict > 0 && verdict.acknowledged > 0 && verdict.in_doubt > 0);
    }

    #[test]
    fn each_mutation_is_found(seed: u64) {
        let correct = correct(seed);
        for (name, promise, mutate) in MUTATIONS {
            let mut history = correct.clone();
            mutate(&mut history);
            let verdict = check(&history);
            let found = verdict.count(*promise);
            prop_assert!(found > 0, "{name}: {:#?}", verdict.violations);
        }
    }

    #[test]
    fn an_excerpt_proves_what_the_whole_proves(seed: u64) {
        for (name, _, mutate) in MUTATIONS {
            let mut history = correct(seed);
            mutate(&mut history);
            for violation in check(&history).violations {
                let excerpt = history.excerpt(&violation);
                let again = check(&excerpt);
                prop_assert!(again.count(violation.promise) > 0, "{name}: {violation:#?} {excerpt:#?}");
                prop_assert!(excerpt.lines().count() < history.lines().count());
            }
        }
    }
}

#[test]
fn a_read_that_overlaps_a_write_may_see_either() {
    for version in [1, 2] {
        let value = if version == 1 { "initial" } else { "new" };
        Script::new().put((10, 20), "new", 2).read(1, 20 - 1, Some(item(version, value))).holds();
    }
    Script::new().put((10, 20), "new", 2).read(1, 20, Some(item(1, "initial"))).breaks(Promise::FreshReads);
}

#[test]
fn a_write_that_redis_missed_may_be_unseen_for_the_bound_and_no_longer() {
    let missed = || Script::new().broken((0, 15), true).put((10, 20), "new", 2);
    missed().read(1, 2_020, Some(item(1, "initial"))).holds();
    missed().read(1, 2_021, Some(item(1, "initial"))).breaks(Promise::FreshReads);
    // Redis was updated before.
    let mut told = missed().read(1, 1_000, Some(item(1, "initial")));
    told.history.broken[0].repaired = 999 * MS;
    told.breaks(Promise::FreshReads);
    // An answer marked as stale may be older.
    let stale = Asked::Read { id: 1, answer: Some(item(1, "initial")), stale: true };
    missed().call(1, (3_015, 3_016), Outcome::Ok, stale.clone()).holds();
    missed().call(1, (3_016, 3_017), Outcome::Ok, stale.clone()).breaks(Promise::FreshReads);
    // Unless the replica that knew of the write has ended.
    let mut forgotten = missed().call(1, (9_000, 9_001), Outcome::Ok, stale.clone());
    forgotten.history.broken.push(Broken { redis: false, ended: true, ..forgotten.history.broken[0].clone() });
    forgotten.holds();
    // Not while Redis was available, and not for another fault.
    Script::new().put((10, 20), "new", 2).call(1, (30, 31), Outcome::Ok, stale).breaks(Promise::FreshReads);
    Script::new()
        .broken((0, 15), false)
        .put((10, 20), "new", 2)
        .read(1, 30, Some(item(1, "initial")))
        .breaks(Promise::FreshReads);
}

#[test]
fn versions_do_not_go_back_for_a_reader() {
    let seen = |history: Script| {
        let newer = history.put_in_doubt((10, 20), "new").read(1, 30, Some(item(2, "new")));
        newer.read(1, 40, Some(item(1, "initial")))
    };
    seen(Script::new()).breaks(Promise::ForwardReads);
    seen(Script::new().broken((0, 15), false)).holds();
    // Another reader may get it later.
    Script::new()
        .put_in_doubt((10, 20), "new")
        .read(1, 30, Some(item(2, "new")))
        .read(2, 40, Some(item(1, "initial")))
        .holds();
}

#[test]
fn a_write_in_doubt_takes_effect_within_its_window_or_never() {
    let doubt = || Script::new().put_in_doubt((10, 20), "old");
    // Before its limit, 1,010 ms.
    doubt().put((900, 910), "new", 2).read(1, 950, Some(item(3, "old"))).holds();
    doubt().put((1_011, 1_020), "new", 2).read(1, 1_100, Some(item(3, "old"))).breaks(Promise::NothingLost);
    doubt().read(1, 3_020, Some(item(1, "initial"))).read(2, 3_030, Some(item(2, "old"))).breaks(Promise::NothingLost);
}

#[test]
fn an_acknowledged_write_takes_no_effect_again() {
    let twice = Script::new().put((10, 1_020), "first", 2).put((1_021, 1_030), "second", 3);
    twice.read(1, 1_500, Some(item(4, "first"))).breaks(Promise::NothingLost);
    // Both copies of one write, before its answer.
    Script::new().put((10, 1_020), "first", 3).read(1, 1_000, Some(item(2, "first"))).holds();
}

#[test]
fn a_deleted_record_stays_gone() {
    let delete = |script: Script, outcome| script.call(3, (10, 20), outcome, Asked::Delete { id: 1, expected: None });
    let deleted = || delete(Script::new(), Outcome::Ok);
    deleted().read(1, 30, None).last(None).holds();
    deleted().read(1, 30, Some(item(1, "initial"))).last(None).breaks(Promise::GoneStaysGone);
    deleted().last(Some(item(1, "initial"))).breaks(Promise::GoneStaysGone);
    deleted().put((30, 40), "again", 2).breaks(Promise::GoneStaysGone);
    // In doubt: deleted or not, but not both.
    let doubt = || delete(Script::new(), Outcome::Doubt);
    doubt().read(1, 30, None).last(None).holds();
    doubt().last(Some(item(1, "initial"))).holds();
    doubt().read(1, 30, None).last(Some(item(1, "initial"))).breaks(Promise::FreshReads);
    doubt().read(1, 30, None).read(1, 40, Some(item(1, "initial"))).breaks(Promise::ForwardReads);
    doubt().put((1_100, 1_110), "kept", 2).last(None).breaks(Promise::NothingLost);
    doubt().put((900, 910), "overtaken", 2).last(None).holds();
    Script::new().last(None).breaks(Promise::NothingLost);
}

#[test]
fn pages_have_everything_that_was_acknowledged_before() {
    let page = |items: Vec<Item>, upto| Asked::Page { after: 0, upto, items, stale: false };
    let created = |script: Script| {
        let answer = Some(Item { id: 7, version: 1, value: "seven".to_owned() });
        script.call(3, (10, 20), Outcome::Ok, Asked::Create { key: None, value: "seven".to_owned(), answer })
    };
    let first = || item(1, "initial");
    let seventh = Item { id: 7, version: 1, value: "seven".to_owned() };
    created(Script::new()).call(1, (30, 31), Outcome::Ok, page(vec![first(), seventh], None)).holds();
    created(Script::new()).call(1, (30, 31), Outcome::Ok, page(vec![first()], Some(1))).holds();
    created(Script::new()).call(1, (30, 31), Outcome::Ok, page(vec![first()], None)).breaks(Promise::FreshPages);
    created(Script::new()).call(1, (19, 31), Outcome::Ok, page(vec![first()], None)).holds();
}

#[test]
fn a_page_that_says_that_it_is_old_may_be_old_where_its_replica_waited_for_postgres_in_vain() {
    let page = || Asked::Page { after: 0, upto: None, items: vec![item(1, "initial")], stale: true };
    let old = |when| Script::new().put((10, 20), "new", 2).call(1, when, Outcome::Ok, page());
    old((30, 130)).holds();
    old((30, 129)).breaks(Promise::FreshPages);
    old((30, 31)).broken((25, 40), false).holds();
    assert_eq!(check(&old((30, 130)).history).old_in_peace, 1);
    assert_eq!(check(&old((30, 130)).broken((25, 40), false).history).old_in_peace, 0);
    // It may also be older than what its reader has seen.
    let seen = Script::new().put((10, 20), "new", 2).read(1, 25, Some(item(2, "new")));
    seen.call(1, (30, 130), Outcome::Ok, page()).holds();
}

#[test]
fn a_conditional_write_replaces_only_what_it_names() {
    let put = |expected, version| Asked::Replace {
        id: 1,
        expected: Some(expected),
        value: "conditional".to_owned(),
        answer: Some(item(version, "conditional")),
    };
    Script::new().call(1, (10, 20), Outcome::Ok, put(1, 2)).holds();
    Script::new().put((1, 2), "new", 2).call(1, (10, 20), Outcome::Ok, put(1, 3)).breaks(Promise::AsAnswered);
}

#[test]
fn one_cache_may_know_a_write_that_is_not_over_before_the_other() {
    let page = |version, value: &str| {
        let items = vec![item(version, value)];
        Asked::Page { after: 0, upto: None, items, stale: false }
    };
    let first_on_page = |at| {
        let script = Script::new().put((10, 100), "new", 2).call(1, (20, 30), Outcome::Ok, page(2, "new"));
        script.read(1, at, Some(item(1, "initial")))
    };
    first_on_page(40).holds();
    let late = check(&first_on_page(100).history);
    assert_eq!((late.count(Promise::FreshReads), late.violations.len()), (1, 1), "{:#?}", late.violations);
    let by_itself = || Script::new().put((10, 100), "new", 2).read(1, 20, Some(item(2, "new")));
    by_itself().call(1, (40, 50), Outcome::Ok, page(1, "initial")).holds();
    by_itself().read(1, 40, Some(item(1, "initial"))).breaks(Promise::ForwardReads);
    // What was seen both ways is not taken back by either.
    let both = first_on_page(40).read(1, 50, Some(item(2, "new")));
    both.read(1, 60, Some(item(1, "initial"))).breaks(Promise::ForwardReads);
}

#[test]
fn what_a_post_in_doubt_created_may_be_missing_for_as_long_as_that_is_cached() {
    let seventh = || Item { id: 7, version: 1, value: "seven".to_owned() };
    let gone = |at| {
        let create = Asked::Create { key: None, value: "seven".to_owned(), answer: None };
        let page = Asked::Page { after: 6, upto: None, items: vec![seventh()], stale: false };
        let mut seen = Script::new().call(3, (10, 20), Outcome::Doubt, create).call(1, (30, 31), Outcome::Ok, page);
        seen.history.head.bound_us = 10_000 * MS;
        seen.call(1, (at, at + 1), Outcome::Ok, Asked::Read { id: 7, answer: None, stale: false })
    };
    gone(3_710).holds();
    gone(3_711).breaks(Promise::ForwardReads);
}

/// With a near cache's allowance of 200 ms. Version 2 is acknowledged by `api-1` at 20 ms.
fn near() -> Script {
    let mut script = Script::new().put((10, 20), "new", 2).at("api-1", "");
    script.history.head.near_us = 200 * MS;
    script
}

const NEAR: &str = "near; hit; ttl=3";
const REDIS: &str = "redis; hit; ttl=3";

impl Script {
    /// The replica that gave the last answer, and its `Cache-Status`.
    fn at(mut self, instance: &str, note: &str) -> Self {
        if let Some(call) = self.history.calls.last_mut() {
            (call.instance, call.note) = (Some(instance.to_owned()), Some(note.to_owned()));
        }
        self
    }
}

#[test]
fn a_near_cache_may_be_old_by_its_allowance_where_another_replica_has_written() {
    let old = |at| near().read(1, at, Some(item(1, "initial")));
    old(219).at("api-2", NEAR).holds();
    old(220).at("api-2", NEAR).breaks(Promise::FreshReads);
    old(21).at("api-2", REDIS).breaks(Promise::FreshReads);
    old(21).at("api-1", NEAR).breaks(Promise::FreshReads);
    // The same for a deleted record.
    let mut gone = Script::new().call(3, (10, 20), Outcome::Ok, Asked::Delete { id: 1, expected: None }).last(None);
    gone.history.head.near_us = 200 * MS;
    let gone = |at| Script { history: gone.history.clone() }.read(1, at, Some(item(1, "initial"))).at("api-2", NEAR);
    gone(219).holds();
    gone(220).breaks(Promise::GoneStaysGone);
    let verdict = check(&old(219).at("api-2", NEAR).history);
    assert_eq!((verdict.near, verdict.near_old, verdict.near_oldest_us), (1, 1, 199 * MS));
    assert_eq!(verdict.strict, 0, "it did not have to be new");
}

#[test]
fn a_near_cache_may_take_back_what_another_replica_has_shown_and_not_what_its_own_has() {
    let seen = |at, note| near().read(1, 30, Some(item(2, "new"))).at(at, note);
    let taken_back = |seen: Script, when| seen.read(1, when, Some(item(1, "initial"))).at("api-2", NEAR);
    taken_back(seen("api-3", REDIS), 100).holds();
    taken_back(seen("api-2", REDIS), 100).breaks(Promise::ForwardReads);
    taken_back(seen("api-2", NEAR), 100).breaks(Promise::ForwardReads);
    let verdict = check(&taken_back(seen("api-3", REDIS), 220).history);
    assert!(verdict.count(Promise::FreshReads) > 0, "{:#?}", verdict.violations);
}
