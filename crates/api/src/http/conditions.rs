//! `If-Match` and `If-None-Match` (RFC 9110, section 13) over versions as entity tags.

use axum::http::{HeaderMap, header};

use crate::error::Error;

/// Which present versions a write may replace. Decided inside the statement itself, so that nothing comes between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// Only these; `None`: any.
    pub only: Option<Vec<i64>>,
    /// None of these.
    pub except: Vec<i64>,
}

impl WriteConditions {
    /// Reads `If-Match`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the header is not one strong entity tag of ours: a condition that cannot be understood
    /// must not be passed over.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let only = expected_version(headers)?.map(|version| vec![version]);
        Ok(Self { only, except: Vec::new() })
    }
}

/// The version that `If-Match` asks for; `None` when it asks for nothing, or for any (`*`).
fn expected_version(headers: &HeaderMap) -> Result<Option<i64>, Error> {
    let mut given = headers.get_all(header::IF_MATCH).iter();
    let Some(tag) = given.next() else { return Ok(None) };
    let invalid = || Error::Invalid("If-Match: must be one version in quotes, as in \"3\", or *".to_owned());
    if given.next().is_some() {
        return Err(invalid());
    }
    let tag = tag.to_str().map_err(|_| invalid())?.trim();
    if tag == "*" {
        return Ok(None);
    }
    let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).ok_or_else(invalid)?;
    version.parse().map(Some).map_err(|_| invalid())
}

/// `If-None-Match`: the versions that the client has already.
#[derive(Debug)]
pub(crate) struct KnownVersions(Option<String>);

impl KnownVersions {
    /// Reads the header; several are one list.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut lists =
            headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok()).peekable();
        Self(lists.peek().is_some().then(|| lists.collect::<Vec<_>>().join(",")))
    }

    /// Whether `version` is among them. Weak comparison, lists, `*`.
    pub(crate) fn contain(&self, version: u64) -> bool {
        self.0.as_deref().is_some_and(|list| {
            list.split(',').map(str::trim).any(|tag| {
                let strong = tag.strip_prefix("W/").unwrap_or(tag);
                let text = strong.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
                tag == "*" || text == Some(version.to_string().as_str())
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn if_match_is_one_strong_tag_or_a_star() {
        let expected = |value| expected_version(&headers(header::IF_MATCH, value));
        assert_eq!(expected("\"3\"").expect("valid"), Some(3));
        assert_eq!(expected("*").expect("valid"), None);
        for wrong in ["3", "W/\"3\"", "\"3\", \"4\"", "\"x\"", ""] {
            assert!(expected(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn if_none_match_takes_lists_and_weak_tags() {
        let names = |value| KnownVersions::of(&headers(header::IF_NONE_MATCH, value)).contain(3);
        assert!(names("\"3\"") && names("W/\"3\"") && names("\"1\", \"3\"") && names("*"));
        assert!(!names("\"33\"") && !names("3") && !names(""));
    }
}
