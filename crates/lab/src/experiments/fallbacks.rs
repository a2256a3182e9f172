//! The whole fallback matrix: one case for every state of the dependencies and of the entry.

use stack::{
    FaultKind::{self, AlterColumn, Cut, EndConnections, Kill, LimitConnections, LockTable, Pause, PauseClients, Stop},
    Target::{self, Postgres, Redis},
};

use super::matrix::{self, Answer, Entry, Row};
use crate::experiment::{About, Experiment};

pub(super) fn experiment() -> Experiment {
    let about = About::new("fallbacks", "What does every state of Redis, Postgres and the entry answer, and how fast?")
        .from(
            "004",
            "",
            "If Redis is down the request falls back to the database. If the database is down and the data is in the \
             cache, the cache answers. If it is in neither, the answer is 503.",
        )
        .expect(
            "No request hangs. What is in the cache is served whatever the state of Postgres; what is not is \
             refused within 300 ms, and within 10 ms once the breaker is open. A broken Redis adds at most 80 ms \
             to an answer, and 5 ms once its breaker is open. Two seconds after the dependency is back everything \
             works as before, without a restart.",
        )
        .change(
            "Set a time-out for every call, shorter than the caller's. Add a breaker, so that only one request a \
             second pays for the time-out. Keep cache entries for longer than they are fresh.",
        );
    let rows = rows();
    let (read_only, hypotheses) = matrix::read_only();
    Experiment {
        about,
        arms: rows.iter().map(Row::arm).chain([read_only]).collect(),
        hypotheses: rows.iter().flat_map(Row::hypotheses).chain(hypotheses).collect(),
    }
}

/// In the order of the contract. Only this experiment uses the records from 901.
fn rows() -> Vec<Row> {
    use Answer::{Bypass, Hit, MissThenHit, Missing, MissingOrBusy, Stale, Unavailable};
    let locked = LockTable { table: "records".to_owned() };
    let altered = AlterColumn { table: "records".to_owned(), column: "value".to_owned(), to: "varchar".to_owned() };
    let mut rows = Vec::new();
    let mut row = |faults: &[(Target, FaultKind)], entry, answer, first, open| {
        let id = 901 + rows.len();
        let at_once = if answer == MissingOrBusy { 20 } else { 1 };
        rows.push(Row { faults: faults.to_vec(), entry, answer, first, open, at_once, id });
    };
    row(&[], Entry::Fresh, Hit, 300.0, None);
    row(&[], Entry::None, MissThenHit, 300.0, None);
    for kind in [Kill, Pause] {
        row(&[(Postgres, kind.clone())], Entry::Fresh, Hit, 300.0, None);
        row(&[(Postgres, kind)], Entry::Old, Stale, 300.0, Some(50.0));
    }
    for kind in [Kill, Stop, Pause, Cut, locked] {
        row(&[(Postgres, kind)], Entry::None, Unavailable, 300.0, Some(10.0));
    }
    for kind in [Kill, Stop, Pause, Cut, PauseClients] {
        row(&[(Redis, kind)], Entry::Any, Bypass, 80.0, Some(5.0));
    }
    for (redis, postgres) in [(Kill, Kill), (Pause, Pause), (Pause, Kill), (Kill, Pause)] {
        // Both orders: one breaker may be open already when the second dependency fails.
        let (redis, postgres) = ((Redis, redis), (Postgres, postgres));
        row(&[redis.clone(), postgres.clone()], Entry::Any, Unavailable, 300.0, None);
        row(&[postgres, redis], Entry::Any, Unavailable, 300.0, None);
    }
    row(&[(Postgres, LimitConnections { most: 2 })], Entry::None, MissingOrBusy, 300.0, None);
    row(&[(Postgres, EndConnections)], Entry::None, Missing, 300.0, None);
    row(&[(Postgres, altered)], Entry::None, Missing, 300.0, None);
    let id = 901 + rows.len();
    let corrupt = FaultKind::Corrupt { key: format!("record:v1:{id}") };
    let corrupt = Row {
        faults: vec![(Redis, corrupt)],
        entry: Entry::Corrupt,
        answer: MissThenHit,
        first: 300.0,
        open: None,
        at_once: 1,
        id,
    };
    rows.push(corrupt);
    rows
}
