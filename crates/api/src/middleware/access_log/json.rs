//! One line of JSON, written field by field into the buffer. Through `serde_json` a line costs three times as many
//! instructions: it looks for escapes byte by byte, also in names and in words that need none.

use std::time::Duration;

use crate::short_text::{DIGITS, decimal};

/// An object that is being written.
pub(super) struct JsonLine<'a> {
    line: &'a mut Vec<u8>,
    separator: u8,
}

impl<'a> JsonLine<'a> {
    /// Begins an object at the end of `line`.
    pub(super) fn new(line: &'a mut Vec<u8>) -> Self {
        Self { line, separator: b'{' }
    }

    /// A field with a text of the client.
    pub(super) fn text(mut self, name: &'static str, text: &str) -> Self {
        self.name(name);
        // Writing a text to memory cannot fail.
        drop(serde_json::to_writer(&mut *self.line, text));
        self
    }

    /// A field with a word of a closed list, an id or a time: ASCII without quotes, backslashes and control characters.
    pub(super) fn word(mut self, name: &'static str, word: &[u8]) -> Self {
        self.name(name);
        self.line.push(b'"');
        self.line.extend_from_slice(word);
        self.line.push(b'"');
        self
    }

    /// A field with a number.
    pub(super) fn number(mut self, name: &'static str, number: u64) -> Self {
        self.name(name);
        self.line.extend_from_slice(decimal(number, &mut [0; DIGITS]));
        self
    }

    /// A field with a duration in milliseconds, with the precision of microseconds.
    pub(super) fn milliseconds(self, name: &'static str, duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let written = self.number(name, micros / 1_000);
        let digit = |value: u64| b'0' + (value % 10) as u8;
        written.line.extend_from_slice(&[b'.', digit(micros / 100), digit(micros / 10), digit(micros)]);
        written
    }

    /// Ends the object and the line.
    pub(super) fn end(self) {
        self.line.extend_from_slice(b"}\n");
    }

    /// Names are words without escapes.
    fn name(&mut self, name: &'static str) {
        self.line.extend_from_slice(&[self.separator, b'"']);
        self.line.extend_from_slice(name.as_bytes());
        self.line.extend_from_slice(b"\":");
        self.separator = b',';
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn a_line_is_the_object_that_was_written(text: String, number: u64, micros in 0u64..10_000_000) {
            let mut line = Vec::new();
            let duration = Duration::from_micros(micros);
            JsonLine::new(&mut line)
                .word("w", b"a-B_1.2:")
                .text("a", &text)
                .number("b", number)
                .milliseconds("c", duration)
                .end();
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let read: serde_json::Value = serde_json::from_slice(&line).expect("JSON");
            prop_assert_eq!(read, json!({"w": "a-B_1.2:", "a": text, "b": number, "c": micros as f64 / 1e3}));
        }
    }
}
