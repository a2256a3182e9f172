//! How entries look: a head of fixed width, and then the body exactly as it is sent to clients.
//!
//! ```text
//! 00000000000000000007 1790000000000 1790000030000 R {"id":1,…}
//! stamp (20 digits)    stored at     fresh until   kind
//! ```
//! (without the blanks). The fixed width makes a hit cheap, nothing is parsed but three numbers, and lets the scripts in
//! Redis compare stamps as texts. What does not decode, or belongs to another key, is [`Corrupt`]: a fact about one
//! key, as good as a miss.

use std::{fmt, time::Duration};

use bytes::Bytes;

use super::now_ms;

const STAMP: usize = 20;
const TIME: usize = 13;
const HEAD: usize = STAMP + 2 * TIME + 1;

/// Clocks of replicas on several hosts agree within this; an entry from further ahead is none of ours.
const CLOCK_ALLOWANCE_MS: u64 = 60_000;

/// What orders entries of one key: the version of a record, or the generation of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// Of an id that was never seen: older than every version.
    pub const NONE: Self = Self(0);

    /// Newer than every version: while it is held, nothing is stored.
    pub(super) const HOLD: Self = Self(u64::MAX);

    /// The stamp of a record's version.
    pub fn of_version(version: i64) -> Self {
        Self(u64::try_from(version).unwrap_or(0))
    }

    /// The next one: newer than this, older than no later version.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
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

/// The bytes under a key are no entry of that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache entry cannot be read")]
pub struct Corrupt;

/// What the entry says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Here is the record.
    Record,
    /// There is no such record.
    Missing,
    /// Here is the page.
    Page,
    /// Nothing, and nothing is to be stored for a moment.
    Hold,
}

impl Kind {
    const fn letter(self) -> char {
        match self {
            Self::Record => 'R',
            Self::Missing => 'M',
            Self::Page => 'P',
            Self::Hold => 'H',
        }
    }

    fn of_letter(letter: u8) -> Option<Self> {
        let kinds = [Self::Record, Self::Missing, Self::Page, Self::Hold];
        kinds.into_iter().find(|kind| kind.letter() == char::from(letter))
    }
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
        let letter = kind.letter();
        let mut encoded = format!("{stamp}{now:013}{fresh_until_ms:013}{letter}").into_bytes();
        encoded.extend_from_slice(body);
        Self { stamp, stored_ms: now, fresh_until_ms, kind, encoded: encoded.into() }
    }

    /// Reads the entry of a record.
    ///
    /// # Errors
    /// [`Corrupt`], also when it is the entry of another id.
    pub(super) fn decode_record(encoded: Vec<u8>, id: i64) -> Result<Self, Corrupt> {
        let entry = Self::decode(encoded)?;
        let body = &entry.encoded[HEAD..];
        let belongs = match entry.kind {
            Kind::Record => {
                let rest = body.strip_prefix(br#"{"id":"#).and_then(|rest| strip_number(rest, id));
                entry.stamp > Stamp::NONE && rest.is_some_and(|rest| rest.starts_with(b",") && rest.ends_with(b"}"))
            }
            Kind::Missing => strip_number(body, id).is_some_and(<[u8]>::is_empty),
            Kind::Hold => true,
            Kind::Page => false,
        };
        if belongs { Ok(entry) } else { Err(Corrupt) }
    }

    /// Reads the entry of a page.
    ///
    /// # Errors
    /// [`Corrupt`].
    pub(super) fn decode_page(encoded: Vec<u8>) -> Result<Self, Corrupt> {
        let entry = Self::decode(encoded)?;
        let body = &entry.encoded[HEAD..];
        let is_page = entry.kind == Kind::Page && body.starts_with(br#"{"items":["#) && body.ends_with(b"}");
        if is_page { Ok(entry) } else { Err(Corrupt) }
    }

    fn decode(encoded: Vec<u8>) -> Result<Self, Corrupt> {
        let head = encoded.get(..HEAD).ok_or(Corrupt)?;
        let stamp = Stamp::decode(&head[..STAMP]).ok_or(Corrupt)?;
        let stored_ms = digits(&head[STAMP..STAMP + TIME]).ok_or(Corrupt)?;
        let fresh_until_ms = digits(&head[STAMP + TIME..STAMP + 2 * TIME]).ok_or(Corrupt)?;
        let kind = Kind::of_letter(head[HEAD - 1]).ok_or(Corrupt)?;
        if stored_ms > now_ms() + CLOCK_ALLOWANCE_MS || fresh_until_ms < stored_ms {
            return Err(Corrupt);
        }
        Ok(Self { stamp, stored_ms, fresh_until_ms, kind, encoded: encoded.into() })
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

    /// Fresh for no longer than `longest` from its storing on, whatever it says itself: the setting may have changed.
    pub(super) fn limit_freshness(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.fresh_until_ms = self.fresh_until_ms.min(self.stored_ms.saturating_add(longest));
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
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
    })
}

/// What follows `number` in decimal digits.
fn strip_number(text: &[u8], number: i64) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits_text, rest) = text.split_at(end);
    (!digits_text.is_empty() && digits(digits_text) == u64::try_from(number).ok()).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: i64, stamp: i64) -> Entry {
        let body = format!(r#"{{"id":{id},"name":"a"}}"#);
        Entry::new(Kind::Record, Stamp::of_version(stamp), now_ms(), Duration::from_secs(30), body.as_bytes())
    }

    #[test]
    fn an_entry_comes_back_as_it_was_stored() {
        let entry = record(7, 3);
        let back = Entry::decode_record(entry.encoded().to_vec(), 7).expect("whole");
        assert_eq!((back.stamp, back.kind(), back.body()), (entry.stamp, Kind::Record, entry.body()));
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
    fn a_shorter_setting_counts_for_entries_that_are_there() {
        let mut entry = record(1, 1);
        entry.limit_freshness(Duration::from_secs(2));
        assert!(entry.fresh_for().is_some_and(|left| left <= 2), "{:?}", entry.fresh_for());
    }

    #[test]
    fn stamps_order_as_texts_as_they_do_as_numbers() {
        for (a, b) in [(0, 1), (9, 10), (99, 1_000_000_000_000), (1, i64::MAX)] {
            assert!(Stamp::of_version(a).to_string() < Stamp::of_version(b).to_string());
        }
        assert!(Stamp::of_version(i64::MAX).next() < Stamp::HOLD);
        assert_eq!(Stamp::HOLD.to_string().len(), STAMP);
    }

    #[test]
    fn what_is_cut_or_of_another_key_is_corrupt() {
        let good = record(12, 1);
        for cut in 0..good.encoded().len() {
            assert!(Entry::decode_record(good.encoded()[..cut].to_vec(), 12).is_err(), "{cut}");
        }
        for other in [1, 2, 112, 121, 0] {
            assert!(Entry::decode_record(good.encoded().to_vec(), other).is_err(), "{other}");
        }
        let missing = Entry::new(Kind::Missing, Stamp::NONE, now_ms(), Duration::from_secs(2), b"12");
        assert!(Entry::decode_record(missing.encoded().to_vec(), 12).is_ok());
        assert!(Entry::decode_record(missing.encoded().to_vec(), 13).is_err());
        assert!(Entry::decode_page(good.encoded().to_vec()).is_err());
        for junk in [&b""[..], b"junk", b"x\0\xff"] {
            assert!(Entry::decode_record(junk.to_vec(), 12).is_err() && Entry::decode_page(junk.to_vec()).is_err());
        }
    }
}
