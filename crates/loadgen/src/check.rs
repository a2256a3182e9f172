//! What an answer must contain besides a successful status: a header, a text in its body, a value in its JSON.

use std::str::FromStr;

use serde_json::Value;

/// One check of an answer, as given.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    text: String,
    kind: CheckKind,
}

#[derive(Clone, Debug, PartialEq)]
enum CheckKind {
    /// There is a header with this name that contains this text.
    Header { name: String, part: String },
    /// The body contains this text.
    Body(String),
    /// The body is JSON with a value at this pointer (RFC 6901), equal to the given one.
    Json { pointer: String, value: Option<Value> },
}

/// More checks than this belong in a test suite, not in a load.
pub(crate) const MAX_CHECKS: usize = 32;

impl FromStr for Check {
    type Err = String;

    /// Parses `header:NAME`, `header:NAME=PART`, `body:TEXT`, `json:/pointer`, `json:/pointer=VALUE`. A value that is
    /// not JSON is a string.
    fn from_str(text: &str) -> Result<Self, String> {
        let example = || {
            format!(
                "{text:?} is no check, for example header:Cache-Status=hit, body:ok, json:/items or json:/status=pass"
            )
        };
        let (kind, rest) = text.split_once(':').filter(|(_, rest)| !rest.is_empty()).ok_or_else(example)?;
        let (left, right) = rest.split_once('=').map_or((rest, None), |(left, right)| (left, Some(right)));
        let kind = match kind {
            "header" => CheckKind::Header { name: left.to_owned(), part: right.unwrap_or_default().to_owned() },
            "body" => CheckKind::Body(rest.to_owned()),
            "json" if left.starts_with('/') => {
                let read = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()));
                CheckKind::Json { pointer: left.to_owned(), value: right.map(read) }
            }
            _ => return Err(example()),
        };
        Ok(Self { text: text.to_owned(), kind })
    }
}

impl Check {
    /// The text as given.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether this header passes the check.
    pub(crate) fn is_met_by_header(&self, header: &str, value: &[u8]) -> bool {
        match &self.kind {
            CheckKind::Header { name, part } => header.eq_ignore_ascii_case(name) && holds(value, part.as_bytes()),
            CheckKind::Body(_) | CheckKind::Json { .. } => false,
        }
    }

    /// Whether this body passes the check. Checks of headers have been decided before.
    pub(crate) fn is_met_by_body(&self, body: &[u8]) -> bool {
        match &self.kind {
            CheckKind::Header { .. } => false,
            CheckKind::Body(text) => holds(body, text.as_bytes()),
            CheckKind::Json { pointer, value } => {
                let document: Option<Value> = serde_json::from_slice(body).ok();
                let found = document.as_ref().and_then(|document| document.pointer(pointer));
                found.is_some_and(|found| value.as_ref().is_none_or(|value| found == value))
            }
        }
    }

    pub(crate) fn needs_body(&self) -> bool {
        !matches!(self.kind, CheckKind::Header { .. })
    }
}

/// Whether one text contains another.
fn holds(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_and_headers_are_checked() {
        let body = br#"{"status":"pass","items":[{"id":7}],"ok":true}"#;
        for (text, met) in [
            ("body:pass", true),
            ("body:a=b", false),
            ("json:/items/0/id", true),
            ("json:/items/0/id=7", true),
            ("json:/items/0/id=8", false),
            ("json:/status=pass", true),
            ("json:/status=\"pass\"", true),
            ("json:/ok=true", true),
            ("json:/nothing", false),
        ] {
            assert_eq!(text.parse::<Check>().unwrap().is_met_by_body(body), met, "{text}");
        }
        assert!(!"json:/a".parse::<Check>().unwrap().is_met_by_body(b"no json"));
        let header: Check = "header:Cache-Status=hit".parse().unwrap();
        assert!(header.is_met_by_header("cache-status", b"redis; hit; ttl=3"));
        assert!(!header.is_met_by_header("cache-status", b"redis; fwd=miss") && !header.is_met_by_header("x", b"hit"));
        assert!("header:ETag".parse::<Check>().unwrap().is_met_by_header("etag", b""));
        for text in ["", "body", "body:", "json:status", "status:200"] {
            assert!(text.parse::<Check>().is_err(), "{text:?}");
        }
    }
}
