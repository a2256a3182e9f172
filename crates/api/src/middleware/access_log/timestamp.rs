//! The time of a line, in RFC 3339 with microseconds. Thousands of lines share a second, so its text is kept.

use std::time::{SystemTime, UNIX_EPOCH};

use time::{OffsetDateTime, macros::format_description};

/// `2026-01-01T00:00:00.`
const SECOND: usize = 20;

/// The text of the last second.
#[derive(Debug)]
pub(super) struct Timestamps {
    second: Option<u64>,
    text: [u8; SECOND],
}

impl Default for Timestamps {
    fn default() -> Self {
        Self { second: None, text: [b'0'; SECOND] }
    }
}

impl Timestamps {
    /// The text of a time.
    pub(super) fn text(&mut self, at: SystemTime) -> [u8; SECOND + 7] {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.second != Some(since.as_secs()) {
            self.second = Some(since.as_secs());
            let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].");
            let second = i64::try_from(since.as_secs()).ok().and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok());
            // It fails only for years that the format has no place for.
            drop(second.unwrap_or(OffsetDateTime::UNIX_EPOCH).format_into(&mut &mut self.text[..], format));
        }
        let mut text = [b'Z'; SECOND + 7];
        text[..SECOND].copy_from_slice(&self.text);
        let mut micros = since.subsec_micros();
        for digit in text[SECOND..SECOND + 6].iter_mut().rev() {
            *digit = b'0' + (micros % 10) as u8;
            micros /= 10;
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_line_has_its_own_time() {
        let mut timestamps = Timestamps::default();
        let mut text = |micros| {
            let at = UNIX_EPOCH + Duration::from_micros(micros);
            String::from_utf8(timestamps.text(at).to_vec()).expect("ASCII")
        };
        assert_eq!(text(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(text(1_767_225_599_999_999), "2025-12-31T23:59:59.999999Z");
        assert_eq!(text(1_767_225_600_000_001), "2026-01-01T00:00:00.000001Z");
        assert_eq!(text(1_767_225_600_120_000), "2026-01-01T00:00:00.120000Z");
        assert_eq!(text(1_767_225_599_000_000), "2025-12-31T23:59:59.000000Z", "the clock was set back");
    }
}
