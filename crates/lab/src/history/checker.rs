//! The checker of a history. It is a pure function: the same lines always give the same verdict.
//!
//! # What may explain an answer
//! - Every written value is different, so the value of an answer identifies the write that it comes from, and the
//!   version gives the order in which writes took effect.
//! - A write that was *acknowledged* took effect between its begin and its end, with the version in the answer.
//! - A write *in doubt* took effect between its begin and its *limit*, or not at all. The limit is its end, or
//!   `window_us` after its begin if that is later, because a client that lost its connection early cannot tell.
//! - A write that was *refused* did nothing.
//! - A read sees every write that was acknowledged before it began. The one exception: Redis was away, for some replica,
//!   at some time between the write's begin and its end. Then the write may stay unseen until Redis was told of it, and
//!   for `bound_us` at most; in an answer that says `detail=stale` until Redis was told of it. When a replica ended
//!   meanwhile, nobody may have told Redis: then `bound_us` holds, and none for an answer that says that it is old.
//! - An answer of a replica's *near cache* counts as begun `near_us` earlier. It still has to know the writes that this
//!   replica has answered, and whatever this replica has shown to the same reader before.
//! - A *page* that says that it is old may be older whenever something is broken: every write ends the pages before it,
//!   and an ended page is what is left when Postgres is away. It may also be older when it took as long as a replica waits
//!   for Postgres. Without an old page the answer would be a failure, which is not judged either: on a busy machine both
//!   come while nothing is broken, and how many is told.
//! - A reader does not see an older version after a newer one. The one exception: one was on a page and the other was not,
//!   and the newer one's write was not over. Records and pages have a cache each, and one of them may know it first.
//!
//! # Order
//! [`book`] indexes the writes by record and version; [`reads`] checks every answer against the index; [`writes`]
//! checks the writes against each other and against the final state.

mod book;
mod reads;
#[cfg(test)]
mod tests;
mod windows;
mod writes;

use self::{book::Book, reads::Reads};
use super::{History, Outcome, Verdict};

/// Checks a history.
#[must_use]
pub fn check(history: &History) -> Verdict {
    let book = Book::new(history);
    let writes = |outcome| history.calls.iter().filter(|call| !call.asked.is_read() && call.outcome == outcome).count();
    let failed = history.calls.iter().filter(|call| call.outcome == Outcome::Doubt);
    let mut verdict = Verdict {
        acknowledged: writes(Outcome::Ok),
        in_doubt: writes(Outcome::Doubt),
        failed_in_peace: failed.filter(|call| !book.is_broken(call.begin, call.end)).count(),
        ..Verdict::default()
    };
    Reads::new(&book).judge(&mut verdict);
    writes::judge(&book, &mut verdict.violations);
    let time = |violation: &super::Violation| {
        violation.calls.iter().filter_map(|place| Some(history.calls.get(*place)?.end)).max()
    };
    verdict.violations.sort_by_key(time);
    verdict
}
