//! The request id: the client's or the proxy's when it is well-formed, else a new one.

use axum::http::{HeaderMap, HeaderValue};

use super::{X_REQUEST_ID, hex};

/// Longest accepted id: enough for a UUID, a trace id or a proxy's own format, and short enough for a log line.
const MAX_LENGTH: usize = 128;

/// ASCII letters, digits, `.`, `_` and `-`: nothing that could break a log line or a header.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// Takes `X-Request-Id` when it occurs once and is well-formed, else generates one from 128 random bits.
    pub fn take_or_make(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(X_REQUEST_ID).iter();
        match (given.next(), given.next()) {
            (Some(id), None) if is_sane(id.as_bytes()) => Self(id.clone()),
            _ => Self::make(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "an identifier, not a decision: nothing is to be repeated by a seed")]
    fn make() -> Self {
        // Not zero: the trace has the same id. Hexadecimal digits are always a valid header value.
        Self(HeaderValue::from_bytes(&hex::digits(fastrand::u128(1..))).unwrap_or(HeaderValue::from_static("-")))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("-")
    }

    /// The id as bytes: visible ASCII.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Moves the id out as a header value, because a copy would allocate. Afterwards the id is `-`.
    pub fn take_header(&mut self) -> HeaderValue {
        std::mem::replace(&mut self.0, HeaderValue::from_static("-"))
    }
}

fn is_sane(id: &[u8]) -> bool {
    !id.is_empty()
        && id.len() <= MAX_LENGTH
        && id.iter().fold(true, |sane, byte| sane & (byte.is_ascii_alphanumeric() | matches!(byte, b'.' | b'_' | b'-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-request-id", HeaderValue::from_static(value));
        }
        let id = RequestId::take_or_make(&headers);
        assert!(is_sane(id.as_str().as_bytes()));
        values.first() == Some(&id.as_str())
    }

    #[test]
    fn only_a_sane_id_is_taken() {
        assert!(taken(&["4bf92f3577b34da6a3ce929d0e0e4736"]));
        assert!(taken(&["a.B_c-1"]));
        assert!(!taken(&[]));
        assert!(!taken(&["a", "b"]), "two ids are none");
        assert!(!taken(&["has space"]) && !taken(&["{\"a\":1}"]) && !taken(&[""]));
        assert!(!taken(&[Box::leak("a".repeat(129).into_boxed_str())]));
    }
}
