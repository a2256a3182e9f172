//! Reads a request body: checks that the content type is JSON, and limits size and time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::Error;

/// A value of 16 KiB may be six times as long in JSON (`\u0001`), and a name of 200 characters 2,400 bytes.
pub const MAX_BODY: usize = 128 * 1024;

pub(crate) async fn read(headers: &HeaderMap, body: Body, timeout: Duration) -> Result<Bytes, Error> {
    check_content_type(headers)?;
    check_content_encoding(headers)?;
    // A `Content-Length` above the limit is refused before the body is read.
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(Error::BodyTooLarge { limit: MAX_BODY });
    }
    let limited = Limited::new(body, MAX_BODY);
    match tokio::time::timeout(timeout, limited.collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::BodyTooLarge { limit: MAX_BODY }),
        Ok(Err(error)) if is_parse_error(error.as_ref()) => {
            Err(Error::Invalid("the body's framing is broken".to_owned()))
        }
        Ok(Err(_)) => Err(Error::BodyBrokeOff),
        Err(_) => Err(Error::BodyTimeout),
    }
}

/// Exactly one `application/json`, with no charset or UTF-8. Other parameters have no meaning for JSON (RFC 8259, 11).
fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (given.next(), given.next()) else {
        return Err(Error::NotJson);
    };
    let mut parts = content_type.to_str().unwrap_or_default().split(';').map(str::trim);
    if !parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/json")) {
        return Err(Error::NotJson);
    }
    let charsets = parts.filter_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.eq_ignore_ascii_case("charset").then_some(value)
    });
    // A parameter value may be quoted (RFC 9110, 5.6.6), and charset names are case-insensitive (8.3.2).
    let unquoted = |value: &str| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).map(str::to_owned);
    let is_utf8 = |value: &str| unquoted(value).as_deref().unwrap_or(value).eq_ignore_ascii_case("utf-8");
    if charsets.into_iter().all(is_utf8) { Ok(()) } else { Err(Error::NotUtf8) }
}

/// No coding except `identity`, which means no encoding (RFC 9110, 8.4.1, 12.5.3).
fn check_content_encoding(headers: &HeaderMap) -> Result<(), Error> {
    let codings = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_none = |line: &HeaderValue| {
        let mut codings = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity"))
    };
    if codings.into_iter().all(is_none) { Ok(()) } else { Err(Error::Encoded) }
}

/// Whether the body was not valid HTTP (for example a chunk without a length), anywhere in the chain of causes.
fn is_parse_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::InvalidInput)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_read() {
        let check = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (header::CONTENT_TYPE, HeaderValue::from_static(line)));
            check_content_type(&HeaderMap::from_iter(lines))
        };
        for json in [
            "application/json",
            "Application/JSON ; charset=UTF-8",
            "application/json;charset=\"utf-8\"",
            "application/json; version=1;",
        ] {
            assert!(check(&[json]).is_ok(), "{json}");
        }
        for other in
            ["", "text/plain", "application/problem+json", "application/json-seq", "application/json, text/plain"]
        {
            assert!(matches!(check(&[other]), Err(Error::NotJson)), "{other}");
        }
        assert!(matches!(check(&[]), Err(Error::NotJson)));
        assert!(matches!(check(&["application/json", "application/json"]), Err(Error::NotJson)));
        for charset in ["charset=latin1", "CHARSET=\"utf-16\"", "charset=utf-8; charset=us-ascii", "charset="] {
            let line: &'static str = Box::leak(format!("application/json; {charset}").into_boxed_str());
            assert!(matches!(check(&[line]), Err(Error::NotUtf8)), "{charset}");
        }
    }

    #[test]
    fn an_encoded_body_is_not_read() {
        let check = |lines: &[&'static str]| {
            let lines = lines.iter().map(|line| (header::CONTENT_ENCODING, HeaderValue::from_static(line)));
            check_content_encoding(&HeaderMap::from_iter(lines))
        };
        assert!(check(&[]).is_ok() && check(&["identity"]).is_ok() && check(&["", "Identity, identity"]).is_ok());
        for codings in [&["gzip"][..], &["identity, br"], &["identity", "x-gzip"], &["*"]] {
            assert!(matches!(check(codings), Err(Error::Encoded)), "{codings:?}");
        }
    }
}
