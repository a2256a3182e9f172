//! Entity tags (RFC 9110, 8.8.3) and lists of them, as `If-Match` and `If-None-Match` carry them (13.1.1, 13.1.2).
//!
//! A record's tag is its version in quotes: `"3"`. Tags are compared byte by byte: `"03"` and `"3"` are different tags,
//! although the numbers are equal. Any text in the form of a tag is accepted; one that this service never generated
//! matches nothing.

use std::iter;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The value of a header field of entity tags, over all its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntityTags {
    /// `*`: any representation.
    Any,
    /// A list, which may be empty.
    List(Vec<EntityTag>),
}

/// One entity tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntityTag {
    /// `W/`.
    weak: bool,
    /// The text between the quotes: visible ASCII without a quote, and bytes above ASCII.
    opaque: Vec<u8>,
}

/// The field is neither `*` nor a list of entity tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl EntityTags {
    /// Parses a field; `None` when it is absent. Several lines form one list (RFC 9110, 5.3).
    ///
    /// # Errors
    /// [`Malformed`] when the field does not follow its grammar.
    pub fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Self>, Malformed> {
        let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let Some(first) = lines.next() else { return Ok(None) };
        if first.trim_ascii() == b"*" {
            return if lines.next().is_none() { Ok(Some(Self::Any)) } else { Err(Malformed) };
        }
        let mut tags = Vec::new();
        for line in iter::once(first).chain(lines) {
            read_list(line, &mut tags)?;
        }
        Ok(Some(Self::List(tags)))
    }

    /// Whether the field matches this version by weak comparison, which ignores `W/` (RFC 9110, 8.8.3.2).
    pub fn match_weakly(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| tag.is(version)),
        }
    }

    /// Whether the field matches this version by strong comparison, in which a weak tag matches nothing.
    pub fn match_strongly(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::List(tags) => tags.iter().any(|tag| !tag.weak && tag.is(version)),
        }
    }
}

impl EntityTag {
    /// Whether it is `W/"…"`.
    pub const fn is_weak(&self) -> bool {
        self.weak
    }

    /// The version that has this tag, if it is the tag of a version.
    pub fn version(&self) -> Option<i64> {
        let version: i64 = str::from_utf8(&self.opaque).ok()?.parse().ok()?;
        (version > 0 && self.is(version.unsigned_abs())).then_some(version)
    }

    fn is(&self, version: u64) -> bool {
        self.opaque == version.to_string().as_bytes()
    }
}

/// Parses one line of a list. Empty elements are ignored (RFC 9110, 5.6.1.2); a comma between quotes is part of a tag.
fn read_list(line: &[u8], tags: &mut Vec<EntityTag>) -> Result<(), Malformed> {
    let mut rest = line;
    loop {
        rest = rest.trim_ascii_start();
        rest = match rest {
            [] => return Ok(()),
            [b',', after @ ..] => after,
            _ => {
                let after = read_tag(rest, tags)?.trim_ascii_start();
                match after {
                    [] => return Ok(()),
                    [b',', after @ ..] => after,
                    _ => return Err(Malformed),
                }
            }
        };
    }
}

/// Parses one tag, and returns the rest of the text.
fn read_tag<'a>(text: &'a [u8], tags: &mut Vec<EntityTag>) -> Result<&'a [u8], Malformed> {
    let (weak, quoted) = match text.strip_prefix(b"W/") {
        Some(quoted) => (true, quoted),
        None => (false, text),
    };
    let inner = quoted.strip_prefix(b"\"").ok_or(Malformed)?;
    let end = inner.iter().position(|byte| *byte == b'"').ok_or(Malformed)?;
    let (opaque, after) = inner.split_at(end);
    let is_tag_character = |byte: &u8| matches!(byte, 0x21 | 0x23..=0x7e | 0x80..);
    if !opaque.iter().all(is_tag_character) {
        return Err(Malformed);
    }
    tags.push(EntityTag { weak, opaque: opaque.to_vec() });
    Ok(&after[1..])
}

#[cfg(test)]
mod tests {
    use axum::http::header::IF_MATCH;
    use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn read(lines: &[&[u8]]) -> Result<Option<EntityTags>, Malformed> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(IF_MATCH, HeaderValue::from_bytes(line).expect("a header value"));
        }
        EntityTags::of(&headers, &IF_MATCH)
    }

    fn tags(line: &str) -> EntityTags {
        read(&[line.as_bytes()]).expect("well-formed").expect("there")
    }

    #[test]
    fn what_has_the_form_of_a_list_is_one() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(tags(" * "), EntityTags::Any);
        for (line, count) in [
            ("", 0),
            (" , ,", 0),
            ("\"3\"", 1),
            ("\"3\",\"4\"", 2),
            (", \"3\" ,, W/\"4\",", 2),
            ("\"\"", 1),
            ("\"a,b\"", 1),
            ("\"W/\"", 1),
            ("\"\\\"", 1),
            ("\"9999999999999999999999\"", 1),
        ] {
            assert!(matches!(tags(line), EntityTags::List(tags) if tags.len() == count), "{line}");
        }
        let lines = read(&[b"\"1\"", b"", b"W/\"2\", \"\xfc\""]);
        assert!(matches!(lines, Ok(Some(EntityTags::List(tags))) if tags.len() == 3));
    }

    #[test]
    fn what_has_not_is_malformed() {
        for line in [
            "3",
            "\"3",
            "3\"",
            "w/\"3\"",
            "W/3",
            "W/ \"3\"",
            "\"3\" \"4\"",
            "\"a b\"",
            "*, \"3\"",
            "**",
            "\"3\"x",
            "'3'",
            "\"\t\"",
        ] {
            assert_eq!(read(&[line.as_bytes()]), Err(Malformed), "{line}");
        }
        for lines in [[b"*".as_slice(), b"*"], [b"*", b"\"3\""], [b"\"3\"", b"*"], [b"*", b""]] {
            assert_eq!(read(&lines), Err(Malformed), "{lines:?}");
        }
    }

    #[test]
    fn tags_are_compared_as_text_and_weak_ones_only_weakly() {
        assert!(tags("\"1\", \"3\"").match_strongly(3) && tags("\"3\"").match_weakly(3));
        assert!(tags("W/\"3\"").match_weakly(3) && !tags("W/\"3\"").match_strongly(3));
        assert!(tags("*").match_weakly(3) && tags("*").match_strongly(3));
        for other in ["\"03\"", "\"+3\"", "\"33\"", "\"\"", "\"3,3\"", "\"W/3\"", "", "\"9999999999999999999999\""] {
            assert!(!tags(other).match_weakly(3) && !tags(other).match_strongly(3), "{other}");
        }
    }

    proptest! {
        #[test]
        fn a_list_that_was_written_is_read_again(
            written in prop::collection::vec((any::<bool>(), tag_text()), 1..8),
            tags_in_a_line in 1_usize..8,
        ) {
            let mut headers = HeaderMap::new();
            for line in written.chunks(tags_in_a_line) {
                let mut text = Vec::new();
                for (weak, opaque) in line {
                    text.extend_from_slice(if *weak { b", W/\"" } else { b" ,\"" });
                    text.extend_from_slice(opaque);
                    text.push(b'"');
                }
                headers.append(IF_MATCH, HeaderValue::from_bytes(&text).expect("a header value"));
            }
            let expected = written.into_iter().map(|(weak, opaque)| EntityTag { weak, opaque }).collect();
            prop_assert_eq!(EntityTags::of(&headers, &IF_MATCH), Ok(Some(EntityTags::List(expected))));
        }

        #[test]
        fn a_version_matches_its_own_tag_and_no_other_text(version in 1..i64::MAX, text in "[0-9+]{1,20}") {
            let own = tags(&format!("\"{version}\""));
            prop_assert!(own.match_strongly(version.unsigned_abs()));
            let other = tags(&format!("\"{text}\""));
            prop_assert_eq!(other.match_strongly(version.unsigned_abs()), text == version.to_string());
        }

        #[test]
        fn no_bytes_confuse_it(line in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&line) {
                headers.append(IF_MATCH, value);
                let read = EntityTags::of(&headers, &IF_MATCH);
                prop_assert!(matches!(read, Ok(Some(_)) | Err(Malformed)));
            }
        }
    }

    fn tag_text() -> impl Strategy<Value = Vec<u8>> {
        let character =
            prop::sample::select((0x21..=0xff_u8).filter(|byte| !matches!(byte, b'"' | 0x7f)).collect::<Vec<_>>());
        prop::collection::vec(character, 0..12)
    }
}
