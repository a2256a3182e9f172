//! The process driver end to end: the real `lab` and `api` and real servers, each test in a state folder and on ports of
//! its own. `make test` builds `api` first.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in its helpers")]

mod accidents;
mod faults;
mod life;
mod refusals;
mod support;
