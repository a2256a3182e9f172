//! The HTTP semantics: the headers and body of a request, and the headers of an answer. Nothing here calls a
//! dependency. docs/http.md has the rules on one page.

pub mod answer;
pub mod body;
pub mod conditions;
pub mod entity_tag;
pub mod freshness;
pub mod idempotency_key;
pub mod receipt;
