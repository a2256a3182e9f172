//! HTTP to the letter: what a request's headers and body say, and what an answer's headers say. Nothing here asks a
//! dependency.

pub mod answer;
pub mod body;
pub mod conditions;
pub mod idempotency_key;
pub mod receipt;
