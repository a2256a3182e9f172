//! Compares the map with a model of Redis: an entry is never served after its change was reported, and versions never
//! go back.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::cache::{entry::Kind, now_ms};

const FRESH: Duration = Duration::from_secs(60);
const LIMIT: u64 = 1024 * 1024;

fn map(bytes: u64) -> (NearMap, IntCounter) {
    let evicted = IntCounter::new("evicted", "for the test").expect("a name");
    (NearMap::new(bytes, evicted.clone()), evicted)
}

fn entry(version: i64) -> Entry {
    entry_of(version, 100)
}

fn entry_of(version: i64, bytes: usize) -> Entry {
    Entry::new(Kind::Record, Stamp::of_version(version), now_ms(), FRESH, &vec![b'x'; bytes])
}

fn version(map: &NearMap, id: i64) -> Option<u64> {
    map.get(id).map(|entry| entry.stamp.version())
}

#[test]
fn a_change_between_look_up_and_insertion_wins() {
    let (map, _) = map(LIMIT);
    let ticket = map.begin(7).expect("the first look-up");
    // The look-up has read version 1 from Redis, and then version 2 is reported.
    map.remove(7);
    assert_eq!(ticket.insert(entry(1)), Inserted::Overtaken);
    assert_eq!(version(&map, 7), None);
    let ticket = map.begin(7).expect("the next look-up");
    map.clear();
    assert_eq!(ticket.insert(entry(2)), Inserted::Overtaken, "everything may have changed");
    let ticket = map.begin(7).expect("the next look-up");
    map.remove(8);
    assert_eq!(ticket.insert(entry(2)), Inserted::Yes, "another id has changed");
    assert_eq!(version(&map, 7), Some(2));
}

#[test]
fn of_two_look_ups_the_newer_answer_is_not_followed_by_the_older() {
    let (map, _) = map(LIMIT);
    let ticket = map.begin(7).expect("the first look-up");
    assert!(map.begin(7).is_none(), "one inserts");
    // The second has read version 2 and answers with it. The first has read version 1.
    assert!(!map.saw(7, Stamp::of_version(2)));
    assert_eq!(ticket.insert(entry(1)), Inserted::Overtaken);
    let ticket = map.begin(7).expect("the next look-up");
    assert_eq!(ticket.insert(entry(1)), Inserted::Yes);
    assert!(map.saw(7, Stamp::of_version(2)), "the older one is removed");
    assert_eq!(version(&map, 7), None);
}

#[test]
fn a_look_up_that_ends_without_an_entry_gives_its_ticket_back() {
    let (map, _) = map(LIMIT);
    drop(map.begin(7).expect("the first look-up"));
    let first = map.begin(7).expect("the second");
    map.remove(7);
    let second = map.begin(7).expect("the first is void");
    drop(first);
    assert_eq!(second.insert(entry(1)), Inserted::Yes, "a void ticket ends no other");
}

#[test]
fn the_limit_holds_and_a_large_entry_evicts_nothing() {
    let (map, evicted) = map(LIMIT);
    for id in 1..=4_000 {
        map.begin(id).expect("nobody else").insert(entry_of(1, 1_000));
        assert!(map.size().1 <= LIMIT, "{:?}", map.size());
    }
    let (entries, bytes) = map.size();
    assert!(bytes > LIMIT / 2, "{bytes} of {LIMIT}");
    assert_eq!(entries as u64 + evicted.get(), 4_000);
    let largest = usize::try_from(LIMIT / LARGEST_SHARE).expect("small");
    assert_eq!(map.begin(0).expect("nobody else").insert(entry_of(1, largest)), Inserted::TooLarge);
    assert_eq!(map.size(), (entries, bytes));
    assert_eq!(map.clear(), entries as u64);
    assert_eq!(map.size(), (0, 0));
}

/// One step of a history. There are few readers and ids, so that they interfere.
#[derive(Debug, Clone)]
enum Step {
    /// A reader looks up an id in the map and, if it is not there, takes a ticket and reads Redis.
    Begin { reader: usize, id: i64 },
    /// It inserts and answers.
    End { reader: usize },
    /// It is cancelled.
    Cancel { reader: usize },
    /// Another replica writes, and Redis has not reported it yet.
    Write { id: i64 },
    /// Redis reports.
    Report { id: i64 },
    /// This replica writes and answers.
    OwnWrite { id: i64 },
    /// The connection is lost and replaced.
    Clear,
    /// Entries of other ids fill the map.
    Crowd { from: i64 },
}

const IDS: i64 = 3;
const READERS: usize = 4;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let id = 0..IDS;
    let reader = 0..READERS;
    let step = prop_oneof![
        6 => (reader.clone(), id.clone()).prop_map(|(reader, id)| Step::Begin { reader, id }),
        6 => reader.clone().prop_map(|reader| Step::End { reader }),
        1 => reader.prop_map(|reader| Step::Cancel { reader }),
        3 => id.clone().prop_map(|id| Step::Write { id }),
        2 => id.clone().prop_map(|id| Step::Report { id }),
        1 => id.prop_map(|id| Step::OwnWrite { id }),
        1 => Just(Step::Clear),
        1 => (1_000_i64..2_000).prop_map(|from| Step::Crowd { from }),
    ];
    prop::collection::vec(step, 1..120)
}

/// A look-up in progress.
struct Reader<'a> {
    id: i64,
    ticket: Option<Ticket<'a>>,
    read: i64,
    /// The newest version that was answered before it began.
    answered: i64,
}

#[derive(Default)]
struct Model {
    redis: HashMap<i64, i64>,
    reported: HashMap<i64, i64>,
    answered: HashMap<i64, i64>,
}

impl Model {
    fn get(of: &HashMap<i64, i64>, id: i64) -> i64 {
        of.get(&id).copied().unwrap_or(1)
    }

    fn answer(&mut self, id: i64, version: i64) {
        let newest = self.answered.entry(id).or_insert(1);
        *newest = version.max(*newest);
    }

    fn report(&mut self, id: i64) {
        self.reported.insert(id, Self::get(&self.redis, id));
    }
}

proptest! {
    #[test]
    fn nothing_reported_is_served_again_and_no_answer_goes_back(steps in steps()) {
        let (map, _) = map(64 * 1024);
        let mut model = Model::default();
        let mut readers: [Option<Reader<'_>>; READERS] = Default::default();
        for step in steps {
            match step {
                Step::Begin { reader, id } if readers[reader].is_none() => {
                    let answered = Model::get(&model.answered, id);
                    if let Some(found) = version(&map, id) {
                        model.answer(id, i64::try_from(found).expect("small"));
                    } else {
                        let ticket = map.begin(id);
                        readers[reader] = Some(Reader { id, ticket, read: Model::get(&model.redis, id), answered });
                    }
                }
                Step::End { reader } => {
                    if let Some(Reader { id, ticket, read, answered }) = readers[reader].take() {
                        match ticket {
                            Some(ticket) => drop(ticket.insert(entry(read))),
                            None => drop(map.saw(id, Stamp::of_version(read))),
                        }
                        prop_assert!(read >= answered, "{} read after {} was answered", read, answered);
                        model.answer(id, read);
                    }
                }
                Step::Cancel { reader } => readers[reader] = None,
                Step::Write { id } => *model.redis.entry(id).or_insert(1) += 1,
                Step::Report { id } => {
                    map.remove(id);
                    model.report(id);
                }
                Step::OwnWrite { id } => {
                    *model.redis.entry(id).or_insert(1) += 1;
                    map.remove(id);
                    model.report(id);
                    model.answer(id, Model::get(&model.redis, id));
                }
                Step::Clear => {
                    map.clear();
                    (0..IDS).for_each(|id| model.report(id));
                }
                Step::Crowd { from } => {
                    for id in from..from + 100 {
                        if let Some(ticket) = map.begin(id) {
                            ticket.insert(entry_of(1, 1_000));
                        }
                    }
                }
                Step::Begin { .. } => {}
            }
            for id in 0..IDS {
                let Some(found) = version(&map, id) else { continue };
                let found = i64::try_from(found).expect("small");
                prop_assert!(found >= Model::get(&model.reported, id), "id {}: {} is older than reported", id, found);
                prop_assert!(found >= Model::get(&model.answered, id), "id {}: {} is older than answered", id, found);
            }
        }
    }
}
