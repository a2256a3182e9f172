//! Reads a request body within its bounds: JSON by its content type, so many bytes, so much time.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::error::Error;

/// A value of 16 KiB may be six times as long in JSON (`\u0001`), and a name of 200 characters 2,400 bytes.
pub const MAX_BODY: usize = 128 * 1024;

pub(crate) async fn read(headers: &HeaderMap, body: Body, timeout: Duration) -> Result<Bytes, Error> {
    check_content_type(headers)?;
    // A length that is too large is refused before a single byte of the body is read.
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

/// `application/json`, with or without parameters, exactly once.
fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let mut given = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(content_type), None) = (given.next(), given.next()) else {
        return Err(Error::NotJson);
    };
    let essence = content_type.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") { Ok(()) } else { Err(Error::NotJson) }
}

/// Whether the bytes were there but were not HTTP (a chunk without a length, say), somewhere down the chain of causes.
fn is_parse_error(error: &(dyn std::error::Error + 'static)) -> bool {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .filter_map(|error| error.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::InvalidInput)
}
