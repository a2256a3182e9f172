//! The keys in Redis: typed and versioned. A change of the entry's form is a new `v`, so that old and new replicas can
//! run side by side.

use std::fmt::Write;

/// Holds the present generation of pages.
pub const GENERATION: &str = "page-generation:v1";

/// What can be cached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Key {
    /// One record.
    Record(i64),
    /// The page of at most `limit` records after the id `after`.
    Page {
        /// The last id before the page.
        after: i64,
        /// Records per page.
        limit: u16,
    },
}

impl Key {
    /// Its name in Redis.
    pub fn name(self) -> String {
        let mut name = String::with_capacity(32);
        // Writing to a String cannot fail.
        let _infallible = match self {
            Self::Record(id) => write!(name, "record:v1:{id}"),
            Self::Page { after, limit } => write!(name, "page:v1:{after}:{limit}"),
        };
        name
    }
}
