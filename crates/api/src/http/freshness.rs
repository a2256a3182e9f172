//! A request's `Cache-Control` (RFC 9111, 5.2.1): whether an answer from the cache is acceptable.

use axum::http::{HeaderMap, header};

/// How recent an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// As stored in the cache.
    Cached,
    /// Read from Postgres. The result also replaces the entry in the cache.
    Revalidate,
}

impl Freshness {
    /// Whether the answer must not come from the cache.
    pub const fn is_past_cache(self) -> bool {
        match self {
            Self::Cached => false,
            Self::Revalidate => true,
        }
    }

    /// `no-cache` (5.2.1.4), and `max-age=0` (5.2.1.1), which browsers send when a page is reloaded. `no-store` and the
    /// other directives concern caches between client and origin, and this cache is part of the origin. `Pragma` is
    /// deprecated (5.4) and ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let asks = |line: &[u8]| directives(line).any(is_for_revalidation);
        match headers.get_all(header::CACHE_CONTROL).iter().any(|line| asks(line.as_bytes())) {
            true => Self::Revalidate,
            false => Self::Cached,
        }
    }
}

/// The elements of a list; a comma between quotes is part of an argument.
fn directives(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let is_end = *byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        is_end
    })
    .map(<[u8]>::trim_ascii)
}

fn is_for_revalidation(directive: &[u8]) -> bool {
    let mut parts = directive.splitn(2, |byte| *byte == b'=');
    let name = parts.next().unwrap_or_default().trim_ascii();
    let argument = parts.next().unwrap_or_default().trim_ascii();
    // An argument may be a token or a quoted string (5.2).
    let argument = argument.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")).unwrap_or(argument);
    name.eq_ignore_ascii_case(b"no-cache")
        || name.eq_ignore_ascii_case(b"max-age") && !argument.is_empty() && argument.iter().all(|byte| *byte == b'0')
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn no_cache_is_found_wherever_it_stands() {
        let of = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (header::CACHE_CONTROL, HeaderValue::from_static(line)));
            Freshness::of(&HeaderMap::from_iter(lines))
        };
        for lines in [
            &["no-cache"][..],
            &["No-Cache"],
            &["max-age=60, no-cache"],
            &["x=\"a, b\" ,no-cache"],
            &["max-age=60", "no-cache"],
            &["max-age=0"],
            &["max-age=\"0\""],
        ] {
            assert_eq!(of(lines), Freshness::Revalidate, "{lines:?}");
        }
        for lines in [
            &[][..],
            &[""],
            &["no-cached"],
            &["x=\"no-cache\""],
            &["x=\"a,no-cache\""],
            &["x=\"\\\",no-cache\""],
            &["max-age=1", "no-store"],
            &["max-age="],
        ] {
            assert_eq!(of(lines), Freshness::Cached, "{lines:?}");
        }
    }
}
