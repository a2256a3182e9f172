//! Single errors, appended to a correct history.

use super::{Asked, Broken, Call, History, Item, Last, MS, Outcome, Promise};

type Mutation = (&'static str, Promise, fn(&mut History));

/// All kinds.
pub(super) const MUTATIONS: &[Mutation] = &[
    ("an old read", Promise::FreshReads, |history| {
        let old = replace(history, Outcome::Ok);
        read(history, 91, old);
    }),
    ("an old read after the bound", Promise::FreshReads, |history| {
        let from = now(history);
        let old = replace(history, Outcome::Ok);
        let what = "redis is away".to_owned();
        history.broken.push(Broken {
            what,
            from,
            to: from + 30 * MS,
            repaired: u64::MAX,
            redis: true,
            ended: false,
            late_only: false,
        });
        later(history, history.head.bound_us + 50 * MS);
        read(history, 91, old);
    }),
    ("a record that is not there yet", Promise::FreshReads, |history| {
        let id = create(history, None);
        add(history, 91, Outcome::Ok, Asked::Read { id, answer: None, stale: false });
    }),
    ("a replica that never learns", Promise::FreshReads, |history| {
        let old = hot(history);
        history.last.push(Last {
            at: "api-2".to_owned(),
            id: 1,
            item: Some(Item { version: old.version - 1, ..old }),
            silent: false,
        });
    }),
    ("a replica that answers no more", Promise::Recovers, |history| {
        history.last.push(Last { at: "api-2".to_owned(), id: 1, item: None, silent: true });
    }),
    ("a page with an old version", Promise::FreshPages, |history| {
        let old = replace(history, Outcome::Ok);
        page(history, vec![old], Some(1));
    }),
    ("a page without a record", Promise::FreshPages, |history| {
        let item = hot(history);
        page(history, vec![], Some(item.id));
    }),
    ("a version that goes back", Promise::ForwardReads, |history| {
        later(history, 600 * MS);
        let old = replace(history, Outcome::Doubt);
        let new = Item { version: old.version + 1, value: "mutation".to_owned(), ..old };
        history.last.retain(|last| last.id != 1);
        history.broken.clear();
        read(history, 91, new);
        read(history, 91, old);
    }),
    ("an acknowledged write that is not there", Promise::NothingLost, |history| {
        let old = hot(history);
        replace(history, Outcome::Ok);
        last(history, 1, Some(old));
    }),
    ("a record that vanished", Promise::NothingLost, |history| {
        last(history, 1, None);
    }),
    ("a write after its time", Promise::NothingLost, |history| {
        replace(history, Outcome::Doubt);
        later(history, history.head.window_us + 50 * MS);
        let old = hot(history);
        let over = Item { version: old.version + 1, value: "over".to_owned(), ..old };
        let asked = Asked::Replace { id: 1, expected: None, value: "over".to_owned(), answer: Some(over.clone()) };
        add(history, 92, Outcome::Ok, asked);
        last(history, 1, Some(Item { version: over.version + 1, value: "mutation".to_owned(), ..over }));
    }),
    ("a POST after its time", Promise::NothingLost, |history| {
        let doubt = Asked::Create { key: None, value: "late".to_owned(), answer: None };
        add(history, 93, Outcome::Doubt, doubt);
        later(history, history.head.window_us + 50 * MS);
        let id = create(history, None) + 1;
        last(history, id, Some(Item { id, version: 1, value: "late".to_owned() }));
    }),
    ("one version for two", Promise::NothingLost, |history| {
        replace(history, Outcome::Ok);
        let newest = Item { value: "twin".to_owned(), ..hot(history) };
        let asked = Asked::Replace { id: 1, expected: None, value: newest.value.clone(), answer: Some(newest) };
        add(history, 94, Outcome::Ok, asked);
    }),
    ("a deleted record that is read", Promise::GoneStaysGone, |history| {
        let item = hot(history);
        delete(history, Outcome::Ok);
        read(history, 91, item);
    }),
    ("a deleted record that is there in the end", Promise::GoneStaysGone, |history| {
        delete(history, Outcome::Ok);
        let item = hot(history);
        last(history, 1, Some(item));
    }),
    ("a key that creates twice", Promise::CreatedOnce, |history| {
        create(history, Some("twice"));
        create(history, Some("twice"));
    }),
    ("a key in doubt that creates twice", Promise::CreatedOnce, |history| {
        let id = create(history, Some("twice")) + 1;
        last(history, id, Some(Item { id, version: 1, value: "created".to_owned() }));
    }),
    ("a write that was refused and done", Promise::AsAnswered, |history| {
        let old = replace(history, Outcome::Refused);
        last(history, 1, Some(Item { version: old.version + 1, value: "mutation".to_owned(), ..old }));
    }),
    ("a value from nowhere", Promise::AsAnswered, |history| {
        let old = hot(history);
        read(history, 91, Item { version: old.version + 1, value: "nobody's".to_owned(), ..old });
    }),
    ("another record", Promise::AsAnswered, |history| {
        let item = hot(history);
        add(history, 91, Outcome::Ok, Asked::Read { id: 2, answer: Some(item), stale: false });
    }),
    ("another value", Promise::AsAnswered, |history| {
        let item = hot(history);
        let asked = Asked::Replace { id: 1, expected: None, value: "sent".to_owned(), answer: Some(item) };
        add(history, 95, Outcome::Ok, asked);
    }),
];

fn now(history: &History) -> u64 {
    history.calls.iter().map(|call| call.end).max().unwrap_or(0) + 600 * MS
}

/// A quiet interval; the faults of the model are over.
fn later(history: &mut History, time: u64) {
    let at = now(history) + time;
    push(history, 99, (at, at + 1), Outcome::Doubt, Asked::Read { id: 1, answer: None, stale: false });
}

fn push(history: &mut History, client: u32, (begin, end): (u64, u64), outcome: Outcome, asked: Asked) {
    let via = "nginx".to_owned();
    history.calls.push(Call { client, via, asked, begin, end, outcome, status: 0, instance: None, note: None });
}

/// A call after all others, while nothing is broken.
fn add(history: &mut History, client: u32, outcome: Outcome, asked: Asked) {
    let at = now(history);
    history.broken.retain(|broken| broken.to < at || broken.from > at + 4_000 * MS);
    push(history, client, (at, at + 5 * MS), outcome, asked);
}

/// The newest version of record 1, by its writers' answers or by Postgres.
fn hot(history: &History) -> Item {
    let answered = history.calls.iter().filter(|call| !call.asked.is_read()).flat_map(|call| call.asked.answered());
    let last = history.last.iter().filter_map(|last| last.item.as_ref());
    let all = history.initial.iter().chain(answered).chain(last).filter(|item| item.id == 1);
    all.max_by_key(|item| item.version).expect("record 1").clone()
}

/// Returns the previous value.
fn replace(history: &mut History, outcome: Outcome) -> Item {
    let old = hot(history);
    let value = "mutation".to_owned();
    let answer =
        (outcome == Outcome::Ok).then(|| Item { version: old.version + 1, value: value.clone(), ..old.clone() });
    add(history, 90, outcome, Asked::Replace { id: 1, expected: None, value, answer });
    old
}

fn delete(history: &mut History, outcome: Outcome) {
    add(history, 90, outcome, Asked::Delete { id: 1, expected: None });
}

fn create(history: &mut History, key: Option<&str>) -> i64 {
    let ids = history.calls.iter().flat_map(|call| call.asked.answered()).map(|item| item.id);
    let id = ids.chain(history.last.iter().map(|last| last.id)).max().unwrap_or(0) + 10;
    let value = "created".to_owned();
    let answer = Some(Item { id, version: 1, value: value.clone() });
    add(history, 90, Outcome::Ok, Asked::Create { key: key.map(str::to_owned), value, answer });
    id
}

fn read(history: &mut History, client: u32, item: Item) {
    add(history, client, Outcome::Ok, Asked::Read { id: item.id, answer: Some(item), stale: false });
}

fn page(history: &mut History, items: Vec<Item>, upto: Option<i64>) {
    add(history, 91, Outcome::Ok, Asked::Page { after: 0, upto, items, stale: false });
}

fn last(history: &mut History, id: i64, item: Option<Item>) {
    history.last.retain(|last| last.id != id);
    history.last.push(Last { at: "postgres".to_owned(), id, item, silent: false });
}
