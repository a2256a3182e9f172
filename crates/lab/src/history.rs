//! Verification by a recorded history: clients write and read through nginx and directly while a seeded schedule of
//! faults breaks the servers. Every call is recorded with its begin and end. A checker then decides whether the
//! promises of the cache and of the writes held.
//!
//! The recorder ([`record`]) and the checker ([`check`]) share only the recorded lines, so that a history can be
//! checked again at any time, also by a later checker.

mod call;
mod checker;
mod excerpt;
mod fault;
mod file;
mod load;
mod population;
mod recorder;
mod schedule;
mod verdict;
mod witness;

pub use self::{
    call::{Asked, Broken, Call, Head, Item, Last, Line, Outcome},
    checker::check,
    file::History,
    recorder::{Plan, record},
    schedule::Aim,
    verdict::{Promise, Verdict, Violation},
};
