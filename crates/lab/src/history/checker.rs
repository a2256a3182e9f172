//! The checker of a history. It is a pure function: the same lines always give the same verdict.
//!
//! # What may explain an answer
//! - Every written value is different, so the value of an answer identifies the write that it comes from, and the
//!   version gives the order in which writes took effect.
//! - A write that was *acknowledged* took effect between its begin and its end, with the version in the answer.
//! - A write *in doubt* took effect between its begin and its *limit*, or not at all. The limit is its end, or
//!   `window_us` after its begin if that is later, because a client that lost its connection early cannot tell.
//! - A write that was *refused* did nothing.
//! - A read sees every write that was acknowledged before it began, with one exception: if Redis was unavailable to
//!   some replica between the write's begin and end, the write may be invisible until Redis has received it, and for at
//!   most `bound_us`. For an answer marked `detail=stale` only the former limit holds. If a replica ended in the
//!   meantime, Redis may never receive the write: then `bound_us` holds, and there is no limit for an answer marked as
//!   stale.
//! - An answer of a replica's *near cache* counts as begun `near_us` earlier. It must still include the writes that
//!   this replica has answered, and everything this replica has returned to the same reader before.
//! - A *page* marked as stale may be older whenever something is broken: every write invalidates the pages before it,
//!   and an invalidated page is served while Postgres is unavailable.
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
