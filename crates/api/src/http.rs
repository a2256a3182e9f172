//! HTTP to the letter: what a request's headers and body say, and what an answer's headers say. Nothing here asks a
//! dependency. docs/http.md has the rules on one page.

pub mod answer;
pub mod body;
pub mod conditions;
pub mod entity_tag;
pub mod freshness;
pub mod idempotency_key;
pub mod receipt;
