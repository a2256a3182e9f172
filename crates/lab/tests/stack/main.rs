//! End to end: the real `lab` and `api` and real servers, each test in a state folder and on ports of its own. `make test`
//! builds `api` first. What needs a Docker engine and the project's images is behind the feature `docker`:
//! `cargo test -p lab --features docker --test stack containers`.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in its helpers")]

mod accidents;
mod client;
mod consistency;
#[cfg(feature = "docker")]
mod containers;
mod edge;
mod effects;
mod experiments;
mod faults;
mod holding;
mod late_writes;
mod life;
mod observe;
mod refusals;
mod sabotage;
mod shape;
mod support;
mod undoing;
