//! Short texts, formatted on the stack: header values and keys. The formatting of the standard library costs several times
//! as many instructions, and each answer has four such texts.

use axum::http::HeaderValue;

/// Longer than every text that this service formats here.
const LONGEST: usize = 96;

/// The most decimal digits of a number.
pub const DIGITS: usize = 20;

/// Writes a number in decimal digits to the end of `digits`, and returns them.
pub fn decimal(mut number: u64, digits: &mut [u8; DIGITS]) -> &[u8] {
    let mut first = DIGITS;
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[first..];
        }
    }
}

/// A text of visible ASCII, of 96 bytes at most.
#[derive(Debug)]
pub struct ShortText {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Default for ShortText {
    fn default() -> Self {
        Self::new()
    }
}

impl ShortText {
    /// An empty text.
    pub const fn new() -> Self {
        Self { bytes: [0; LONGEST], length: 0 }
    }

    /// Appends a text. What does not fit is cut off.
    #[must_use]
    #[inline]
    pub fn text(mut self, text: &str) -> Self {
        self.push(text.as_bytes());
        self
    }

    /// Appends a number in decimal digits.
    #[must_use]
    #[inline]
    pub fn number(mut self, number: u64) -> Self {
        self.push(decimal(number, &mut [0; DIGITS]));
        self
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }

    /// The text as a header value.
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.bytes[..self.length]).unwrap_or(HeaderValue::from_static("-"))
    }

    fn push(&mut self, bytes: &[u8]) {
        let rest = &mut self.bytes[self.length..];
        let fits = bytes.len().min(rest.len());
        rest[..fits].copy_from_slice(&bytes[..fits]);
        self.length += fits;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_written_as_the_standard_library_writes_them(number: u64) {
            let text = ShortText::new().text("a=").number(number);
            prop_assert_eq!(text.as_str(), format!("a={number}"));
            prop_assert_eq!(text.value(), format!("a={number}"));
        }
    }

    #[test]
    fn the_smallest_and_the_largest_number_and_what_does_not_fit() {
        assert_eq!(ShortText::new().number(0).as_str(), "0");
        assert_eq!(ShortText::new().number(u64::MAX).as_str(), u64::MAX.to_string());
        assert_eq!(ShortText::new().text(&"a".repeat(100)).number(1).as_str(), "a".repeat(LONGEST));
    }
}
