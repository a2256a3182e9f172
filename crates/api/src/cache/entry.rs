//! The format of entries: a head of fixed width, then the body exactly as it is sent to clients.
//!
//! ```text
//! 00000000000000000007 1790000000000 1790000030000 00000214 r {"id":1,…}
//! stamp (20 digits)    stored at     fresh until   length   kind
//! ```
//! (without the spaces). Because the width is fixed, a hit parses only four numbers, and the scripts in Redis can
//! compare stamps as strings. The length is that of the body; it detects truncated JSON, which may still end with a
//! brace. An entry that cannot be decoded, or that belongs to another key, is [`Corrupt`]. That concerns one key only,
//! and is handled like a miss.

use std::{fmt, time::Duration};

use bytes::{Buf, Bytes};

use super::now_ms;

const STAMP: usize = 20;
const TIME: usize = 13;
const LENGTH: usize = 8;
const HEAD: usize = STAMP + 2 * TIME + LENGTH + 1;

/// The largest numbers that fit into the head: the year 2286, and a length far above any stored body.
const MAX_TIME_MS: u64 = 10u64.pow(TIME as u32) - 1;
const MAX_LENGTH: u64 = 10u64.pow(LENGTH as u32) - 1;

/// The largest difference between the clocks of replicas on several hosts. An entry from further in the future was not
/// stored by this service.
const CLOCK_ALLOWANCE_MS: u64 = 60_000;

/// Orders the entries of one key: the version of a record, or the generation of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(u64);

impl Stamp {
    /// The stamp of an id that was never stored: older than every version.
    pub const NONE: Self = Self(0);

    /// Newer than every version: while Redis holds it, nothing is stored.
    pub(super) const HOLD: Self = Self(u64::MAX);

    /// The stamp of a record's version.
    pub fn of_version(version: i64) -> Self {
        Self(u64::try_from(version).unwrap_or(0))
    }

    /// The next stamp: newer than this one, and not newer than any later version.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The version that the stamp stands for.
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

/// The bytes under a key are not a valid entry of that key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cache entry cannot be read")]
pub struct Corrupt;

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A record.
    Record,
    /// There is no such record.
    Missing,
    /// A page.
    Page,
    /// A hold: no content, and nothing may be stored while it exists.
    Hold,
}

impl Kind {
    /// When the format changes, the letters change too, so that a replica of another version does not read entries that
    /// it does not understand. (Capital letters were the format without a length.)
    const fn letter(self) -> u8 {
        match self {
            Self::Record => b'r',
            Self::Missing => b'm',
            Self::Page => b'p',
            Self::Hold => b'h',
        }
    }

    fn of_letter(letter: u8) -> Option<Self> {
        let kinds = [Self::Record, Self::Missing, Self::Page, Self::Hold];
        kinds.into_iter().find(|kind| kind.letter() == letter)
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
        let stored_ms = now.min(MAX_TIME_MS);
        let fresh_ms = u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX);
        let fresh_until_ms = stored_ms.saturating_add(fresh_ms).min(MAX_TIME_MS);
        let (length, letter) = ((body.len() as u64).min(MAX_LENGTH), kind.letter());
        let mut encoded = Vec::with_capacity(HEAD + body.len());
        encoded.extend_from_slice(&padded::<STAMP>(stamp.0));
        encoded.extend_from_slice(&padded::<TIME>(stored_ms));
        encoded.extend_from_slice(&padded::<TIME>(fresh_until_ms));
        encoded.extend_from_slice(&padded::<LENGTH>(length));
        encoded.push(letter);
        encoded.extend_from_slice(body);
        Self { stamp, stored_ms, fresh_until_ms, kind, encoded: encoded.into() }
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
            Kind::Hold => body.is_empty(),
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
        let length = digits(&head[STAMP + 2 * TIME..HEAD - 1]).ok_or(Corrupt)?;
        let kind = Kind::of_letter(head[HEAD - 1]).ok_or(Corrupt)?;
        if length != (encoded.len() - HEAD) as u64 {
            return Err(Corrupt);
        }
        if stored_ms > now_ms() + CLOCK_ALLOWANCE_MS || fresh_until_ms < stored_ms {
            return Err(Corrupt);
        }
        Ok(Self { stamp, stored_ms, fresh_until_ms, kind, encoded: encoded.into() })
    }

    /// The kind of the entry.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The body as it is sent.
    pub fn into_body(mut self) -> Bytes {
        self.encoded.advance(HEAD);
        self.encoded
    }

    pub(super) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// The fresh time after the entry was stored, in milliseconds.
    pub(super) fn lifetime_ms(&self) -> u64 {
        self.fresh_until_ms.saturating_sub(self.stored_ms).max(1)
    }

    /// Limits the fresh time to `longest` after the entry was stored, because the setting may have changed since.
    pub(super) fn limit_freshness(&mut self, longest: Duration) {
        let longest = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX);
        self.fresh_until_ms = self.fresh_until_ms.min(self.stored_ms.saturating_add(longest));
    }

    /// The remaining seconds of its fresh time; `None` when it is not fresh.
    pub fn fresh_for(&self) -> Option<u64> {
        self.fresh_until_ms.checked_sub(now_ms()).filter(|left| *left > 0).map(|left| left.div_ceil(1_000))
    }

    /// The time since it stopped being fresh; zero while it is fresh.
    pub fn old_for(&self) -> Duration {
        Duration::from_millis(now_ms().saturating_sub(self.fresh_until_ms))
    }

    /// Seconds since it was read from Postgres.
    pub fn age(&self) -> u64 {
        now_ms().saturating_sub(self.stored_ms) / 1_000
    }
}

/// The decimal digits of a number that has at most `N`, with leading zeros.
fn padded<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

/// The number in decimal digits; `None` if it is none, or too large.
fn digits(text: &[u8]) -> Option<u64> {
    // Up to 19 digits fit.
    let (fitting, rest) = text.split_at(text.len().min(19));
    let mut are_digits = true;
    let mut number = 0u64;
    for byte in fitting {
        let digit = byte.wrapping_sub(b'0');
        are_digits &= digit < 10;
        number = number.wrapping_mul(10).wrapping_add(digit.into());
    }
    rest.iter().try_fold(are_digits.then_some(number)?, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 { number.checked_mul(10)?.checked_add(u64::from(digit)) } else { None }
    })
}

/// Returns what follows `number` in decimal digits, if the digits are in this service's format.
fn strip_number(text: &[u8], number: i64) -> Option<&[u8]> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (written, rest) = text.split_at(end);
    let is_padded = written.len() > 1 && written[0] == b'0';
    let is_number = !written.is_empty() && !is_padded && i64::try_from(digits(written)?).ok()? == number;
    is_number.then_some(rest)
}

#[cfg(test)]
mod tests;
