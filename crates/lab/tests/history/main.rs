//! The promises of the cache and of the writes, held against a recorded history: of real servers under faults, and of
//! recordings in which each promise was broken.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in its helpers")]

mod command;
mod put_back;
mod recorded;
mod short;
