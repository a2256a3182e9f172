//! `docs/fallbacks.md`: the matrix with the measured times. A pure function of what was measured.

use std::{fmt::Write, time::Duration};

use super::{
    Measured, RECOVERS_WITHIN,
    row::{Bounded, Says},
};

const HEAD: &str = "# The fallback matrix, measured

Each row was brought about on a real stack (three replicas behind nginx), measured on one replica, repeated through nginx,
and undone. `away`: connections are refused or packets vanish. `hung`: connections are accepted and nothing is answered.

This page is written by `make fallbacks` (`lab fallbacks --out docs/fallbacks.md`); the tests hold the same rows to the
same bounds.

| Redis | Postgres | entry | answer | first answers | breaker open | good again after |
| --- | --- | --- | --- | --- | --- | --- |
";

const TAIL: &str = "
*First answers*: the slowest one from the moment of the fault until the breaker opened, and its bound. *Breaker open*: the
median of twenty answers after that; about one a second is the breaker's own probe and takes as long as a first answer.
Where Redis is broken and Postgres is up, the times are what Redis costs of the answer (its `Server-Timing`).
*Good again after*: from the moment at which the dependency answers again to the first answer that is as good as before.

What the words mean to a client:

| answer | status | `Cache-Status` |
| --- | --- | --- |
| hit | 200 | `redis; hit; ttl=27` |
| stale | 200, with `Age` | `redis; hit; detail=stale` |
| miss | 200 | `redis; fwd=uri-miss; stored` |
| bypass | 200 | `redis; fwd=bypass; detail=timeout` (or `away`, `breaker_open`) |
| unavailable | 503 with `Retry-After`, problem document with `code` `database_unavailable`, `database_timeout` or, once the breaker is open, `database_not_asked` | `redis; fwd=…` |
";

/// The page.
pub fn render(rows: &[Measured]) -> String {
    let mut page = String::from(HEAD);
    for measured in rows {
        let row = &measured.row;
        let order = match (row.redis_first, row.postgres) {
            _ if !measured.is_double() => "",
            (true, _) => " (first)",
            (false, _) => " (second)",
        };
        let cells = match &measured.impossible {
            Some(why) => format!("{why} | | "),
            None => format!(
                "{} | {} | {}",
                within(measured.first.slowest(), row.expected.first),
                measured.open.as_ref().map_or_else(String::new, |open| within(open.median(), row.expected.open)),
                measured.recovery.map_or_else(String::new, |recovery| within(recovery, Some(RECOVERS_WITHIN))),
            ),
        };
        let entry = format!("{:?}", row.entry).to_lowercase();
        // Writing to a String cannot fail.
        let _infallible =
            writeln!(page, "| {}{order} | {} | {entry} | {} | {cells} |", row.redis, row.postgres, measured.answer());
    }
    page.push_str(TAIL);
    page
}

impl Measured {
    fn is_double(&self) -> bool {
        use super::row::Condition::Up;
        self.row.redis != Up && self.row.postgres != Up
    }

    fn answer(&self) -> &'static str {
        match (self.row.expected.says, self.row.expected.bounded) {
            (Says::Hit, _) => "hit",
            (Says::MissThenHit, _) => "miss, then hit",
            (Says::Stale, _) => "stale",
            (Says::Bypass, Bounded::Redis | Bounded::Answer) => "bypass",
            (Says::Unavailable, _) => "unavailable",
            (Says::GoodOrBusy, _) => "Postgres' own, or 503 `database_busy`",
        }
    }
}

/// `12.3 ms (≤ 300)`
fn within(took: Duration, bound: Option<Duration>) -> String {
    let bound = bound.map_or_else(String::new, |bound| format!(" (≤ {})", bound.as_millis()));
    format!("{:.1} ms{bound}", took.as_secs_f64() * 1e3)
}
