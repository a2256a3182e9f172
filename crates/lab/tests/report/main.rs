//! Reports of a recorded journal: what they say, that they survive every cut, and that they replace nothing else.
//!
//! After a wanted change, look at the new files and record them: `lab report crates/lab/tests/report/journal.ndjson` writes
//! them beside the journal. Only the Markdown, the XML and the post-mortem are kept.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report, also in its helpers")]

#[cfg(feature = "browser")]
mod browser;
mod command;
mod recorded;
