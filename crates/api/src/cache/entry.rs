//! An entry: a head of fixed width, and then the body exactly as it is sent to clients.
//!
//! ```text
//! 00000000000000000007 1790000000000 1790000030000 R {"id":1,…}
//! stamp (20 digits)    stored at     fresh until   kind
//! ```
//! (without the blanks). The fixed width makes a hit cheap, nothing is parsed but three numbers, and lets the script in
//! Redis compare stamps as texts.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::now_ms;

const STAMP: usize = 20;
const TIME: usize = 13;
const HEAD: usize = STAMP + 2 * TIME + 1;

/// What orders entries of one key: the version of a record, or the generation of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of a record's version.
    pub fn of_version(version: i64) -> Self {
        Self(u64::try_from(version).unwrap_or(0))
    }

    /// A generation that no other is equal to.
    #[expect(clippy::disallowed_methods, reason = "an identifier, not a decision: nothing is to be repeated by a seed")]
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }

    /// The version behind it.
    pub fn version(self) -> u64 {
        self.0
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        if text.len() == STAMP { digits(text).map(Self) } else { None }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:020}", self.0)
    }
}

/// What the entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Here is the record.
    Record,
    /// There is no such record.
    Missing,
    /// Here is the page.
    Page,
}

/// One entry. Clones share the body.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Orders entries of one key.
    pub stamp: Stamp,
    stored_ms: u64,
    fresh_until_ms: u64,
    kind: Kind,
    /// Head and body, as they are in Redis.
    encoded: Bytes,
}

impl Entry {
    pub(super) fn new(kind: Kind, stamp: Stamp, now: u64, fresh: Duration, body: &[u8]) -> Self {
        let fresh_until_ms = now.saturating_add(u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX));
        let letter = match kind {
            Kind::Record => 'R',
            Kind::Missing => 'M',
            Kind::Page => 'P',
        };
        let mut encoded = format!("{stamp}{now:013}{fresh_until_ms:013}{letter}").into_bytes();
        encoded.extend_from_slice(body);
        Self { stamp, stored_ms: now, fresh_until_ms, kind, encoded: encoded.into() }
    }

    /// Reads an entry; what is not one (another version's, somebody else's) counts as absent.
    pub(super) fn decode(encoded: Vec<u8>) -> Option<Self> {
        let head = encoded.get(..HEAD)?;
        let stamp = Stamp::decode(&head[..STAMP])?;
        let stored_ms = digits(&head[STAMP..STAMP + TIME])?;
        let fresh_until_ms = digits(&head[STAMP + TIME..STAMP + 2 * TIME])?;
        let kind = match head[HEAD - 1] {
            b'R' => Kind::Record,
            b'M' => Kind::Missing,
            b'P' => Kind::Page,
            _ => return None,
        };
        Some(Self { stamp, stored_ms, fresh_until_ms, kind, encoded: encoded.into() })
    }

    /// What it says.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The body as it is sent.
    pub fn body(&self) -> Bytes {
        self.encoded.slice(HEAD..)
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// How long it is fresh from its storing on, in milliseconds.
    pub(super) fn lifetime_ms(&self) -> u64 {
        self.fresh_until_ms.saturating_sub(self.stored_ms).max(1)
    }

    /// Seconds for which it is still fresh; `None` when it is not.
    pub fn fresh_for(&self) -> Option<u64> {
        self.fresh_until_ms.checked_sub(now_ms()).filter(|left| *left > 0).map(|left| left.div_ceil(1_000))
    }

    /// How long it has not been fresh any more; zero while it is.
    pub fn old_for(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.fresh_until_ms))
    }

    /// Seconds since it was read from Postgres.
    pub fn age(&self) -> u64 {
        now_ms().saturating_sub(self.stored_ms) / 1_000
    }

    /// Makes it old: it is known to be out of date.
    pub(super) fn expire(&mut self) {
        self.fresh_until_ms = 0;
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_stored() {
        let entry = Entry::new(Kind::Record, Stamp::of_version(7), now_ms(), Duration::from_secs(30), b"{}");
        let back = Entry::decode(entry.encoded().to_vec()).expect("whole");
        assert_eq!(
            (back.stamp, back.kind(), back.body()),
            (Stamp::of_version(7), Kind::Record, Bytes::from_static(b"{}"))
        );
        assert_eq!((back.age(), back.fresh_for(), back.old_for()), (0, Some(30), Duration::ZERO));
    }

    #[test]
    fn an_old_entry_is_not_fresh_and_has_an_age() {
        let long_ago = now_ms() - 5_500;
        let entry = Entry::new(Kind::Record, Stamp::of_version(1), long_ago, Duration::from_secs(2), b"");
        assert_eq!((entry.fresh_for(), entry.age()), (None, 5));
        assert!(entry.old_for() >= Duration::from_millis(3_500), "{:?}", entry.old_for());
    }

    #[test]
    fn stamps_order_as_texts_as_they_do_as_numbers() {
        for (a, b) in [(0, 1), (9, 10), (99, 1_000_000_000_000), (1, i64::MAX)] {
            assert!(Stamp::of_version(a).to_string() < Stamp::of_version(b).to_string());
        }
    }

    #[test]
    fn what_is_no_entry_counts_as_absent() {
        let good = Entry::new(Kind::Page, Stamp::of_version(1), now_ms(), Duration::from_secs(1), b"[]");
        for cut in 0..HEAD {
            assert!(Entry::decode(good.encoded()[..cut].to_vec()).is_none());
            let mut broken = good.encoded().to_vec();
            broken[cut] = b'x';
            assert!(Entry::decode(broken).is_none());
        }
    }
}
