//! Conditional requests (RFC 9110, section 13), with a record's version as its entity tag.
//!
//! # In the order of RFC 9110, 13.2.2
//! ## `If-Match`
//! Strong comparison. False: 412, and nothing is done.
//! ## `If-None-Match`
//! Weak comparison. False: 304 to GET and HEAD, 412 to every other method.
//!
//! Conditions are evaluated last: a request that would be refused without them (400, 404, 415, 503 …) is refused as if
//! they were absent (13.2.1). So a PUT of a record that does not exist is 404, while a DELETE of one, which would be
//! 204, is 412 when it has an `If-Match`. Pages and records have no modification date, so `If-Modified-Since` and
//! `If-Unmodified-Since` are ignored (13.1.3, 13.1.4).

use axum::http::{HeaderMap, HeaderName, header};

use super::entity_tag::{EntityTag, EntityTags, Malformed};
use crate::error::Error;

/// Which current versions a write may replace. The statement itself decides, so that no other write can come between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteConditions {
    /// Only these versions; `None`: any. An empty list refuses every version.
    pub only: Option<Vec<i64>>,
    /// None of these versions.
    pub except: Vec<i64>,
    /// Whether the record must exist: without a record, `If-Match` is false in any form (RFC 9110, 13.1.1).
    pub must_exist: bool,
}

impl WriteConditions {
    /// Parses both fields.
    ///
    /// # Errors
    /// [`Error::Invalid`] when one of them does not follow its grammar: a condition that cannot be parsed must not be
    /// ignored.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let if_match = strict(headers, &header::IF_MATCH)?;
        let mut conditions = Self { must_exist: if_match.is_some(), ..Self::default() };
        if let Some(EntityTags::List(tags)) = &if_match {
            let strong = tags.iter().filter(|tag| !tag.is_weak());
            conditions.only = Some(strong.filter_map(EntityTag::version).collect());
        }
        match strict(headers, &header::IF_NONE_MATCH)? {
            None => {}
            Some(EntityTags::Any) => conditions.only = Some(Vec::new()),
            Some(EntityTags::List(tags)) => conditions.except = tags.iter().filter_map(EntityTag::version).collect(),
        }
        Ok(conditions)
    }
}

/// The conditions of a GET or HEAD.
#[derive(Debug)]
pub(crate) struct ReadConditions {
    only: Option<EntityTags>,
    known: Option<EntityTags>,
}

impl ReadConditions {
    /// Parses both fields. An `If-None-Match` that cannot be parsed matches nothing, because the full answer is always
    /// correct.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `If-Match` does not follow its grammar.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let known = EntityTags::of(headers, &header::IF_NONE_MATCH).unwrap_or(Some(EntityTags::List(Vec::new())));
        Ok(Self { only: strict(headers, &header::IF_MATCH)?, known })
    }

    /// Whether the client has this version already.
    pub(crate) fn know(&self, version: u64) -> bool {
        self.known.as_ref().is_some_and(|tags| tags.match_weakly(version))
    }

    /// Whether the client accepts this version.
    pub(crate) fn permit(&self, version: u64) -> bool {
        self.only.as_ref().is_none_or(|tags| tags.match_strongly(version))
    }
}

/// The result of the conditions of a request to the collection, which always exists and has no entity tag, so that only
/// `*` matches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OfCollection {
    /// They are true.
    Met,
    /// `If-Match` is a list.
    NotMatched,
    /// `If-None-Match` is `*`.
    Present,
}

impl OfCollection {
    /// Parses both fields.
    ///
    /// # Errors
    /// As for [`WriteConditions`].
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let if_match = strict(headers, &header::IF_MATCH)?;
        let if_none_match = strict(headers, &header::IF_NONE_MATCH)?;
        Ok(match (if_match, if_none_match) {
            (Some(EntityTags::List(_)), _) => Self::NotMatched,
            (_, Some(EntityTags::Any)) => Self::Present,
            (None | Some(EntityTags::Any), None | Some(EntityTags::List(_))) => Self::Met,
        })
    }
}

fn strict(headers: &HeaderMap, name: &HeaderName) -> Result<Option<EntityTags>, Error> {
    EntityTags::of(headers, name).map_err(|Malformed| {
        let name = if *name == header::IF_MATCH { "If-Match" } else { "If-None-Match" };
        Error::Invalid(format!("{name}: must be * or a list of entity tags, as in \"3\", \"4\""))
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(lines: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    fn write(lines: &[(HeaderName, &'static str)]) -> WriteConditions {
        WriteConditions::of(&headers(lines)).expect("well-formed")
    }

    #[test]
    fn a_write_replaces_only_what_its_conditions_name() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let conditions = |only: Option<&[i64]>, except: &[i64], must_exist| WriteConditions {
            only: only.map(<[i64]>::to_vec),
            except: except.to_vec(),
            must_exist,
        };
        assert_eq!(write(&[]), conditions(None, &[], false));
        assert_eq!(write(&[(IF_MATCH, "*")]), conditions(None, &[], true));
        assert_eq!(write(&[(IF_MATCH, "\"3\"")]), conditions(Some(&[3]), &[], true));
        assert_eq!(write(&[(IF_MATCH, "\"3\", \"a,b\""), (IF_MATCH, "\"5\"")]), conditions(Some(&[3, 5]), &[], true));
        for never in ["W/\"3\"", "\"03\"", "\"9999999999999999999999\"", "\"0\"", "\"-3\"", "\"x\"", ""] {
            assert_eq!(write(&[(IF_MATCH, never)]), conditions(Some(&[]), &[], true), "{never}");
        }
        assert_eq!(write(&[(IF_NONE_MATCH, "*")]), conditions(Some(&[]), &[], false));
        assert_eq!(write(&[(IF_NONE_MATCH, "W/\"3\", \"4\", \"x\"")]), conditions(None, &[3, 4], false));
        assert_eq!(write(&[(IF_MATCH, "\"3\""), (IF_NONE_MATCH, "\"3\"")]), conditions(Some(&[3]), &[3], true));
        assert_eq!(write(&[(IF_MATCH, "\"3\""), (IF_NONE_MATCH, "*")]), conditions(Some(&[]), &[], true));
        assert!(WriteConditions::of(&headers(&[(IF_MATCH, "3")])).is_err());
        assert!(WriteConditions::of(&headers(&[(IF_NONE_MATCH, "\"3")])).is_err());
    }

    #[test]
    fn a_read_is_lenient_with_what_saves_it_a_body_only() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let read = |lines| ReadConditions::of(&headers(lines));
        assert!(read(&[(IF_NONE_MATCH, "\"a,3\", W/\"3\"")]).is_ok_and(|read| read.know(3) && read.permit(3)));
        assert!(read(&[(IF_NONE_MATCH, "3")]).is_ok_and(|read| !read.know(3)));
        assert!(read(&[(IF_MATCH, "W/\"3\"")]).is_ok_and(|read| !read.permit(3)));
        assert!(read(&[(IF_MATCH, "3")]).is_err());
        assert!(read(&[]).is_ok_and(|read| !read.know(3) && read.permit(3)));
    }

    #[test]
    fn the_collection_is_matched_by_a_star_alone() {
        use header::{IF_MATCH, IF_NONE_MATCH};
        let of = |lines| OfCollection::of(&headers(lines)).expect("well-formed");
        assert_eq!(of(&[]), OfCollection::Met);
        assert_eq!(of(&[(IF_MATCH, "*"), (IF_NONE_MATCH, "\"1\"")]), OfCollection::Met);
        assert_eq!(of(&[(IF_MATCH, "\"1\""), (IF_NONE_MATCH, "*")]), OfCollection::NotMatched);
        assert_eq!(of(&[(IF_NONE_MATCH, "*")]), OfCollection::Present);
    }
}
