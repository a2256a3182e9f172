//! `Idempotency-Key`: how it is parsed, and the fingerprint of the request's body (IETF draft "The Idempotency-Key HTTP
//! Header Field").

use axum::http::HeaderMap;

use crate::{error::Error, records::model::NewRecord};

/// A UUID has 36 characters; this also leaves room for keys that a client composes.
const MAX_KEY: usize = 255;

/// A key and the body that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client sent it.
    pub key: String,
    /// The body, framed by the length of the name. Postgres stores its SHA-256, to tell two bodies apart.
    pub body: Vec<u8>,
}

impl IdempotencyKey {
    /// Parses the header, if there is one.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a key that is empty, too long, not visible ASCII, or given twice.
    pub fn of(headers: &HeaderMap, body: &NewRecord) -> Result<Option<Self>, Error> {
        let mut given = headers.get_all("idempotency-key").iter();
        let (Some(key), None) = (given.next(), given.next()) else {
            return match headers.contains_key("idempotency-key") {
                true => Err(Error::Invalid("Idempotency-Key: is there more than once".to_owned())),
                false => Ok(None),
            };
        };
        let key = key.as_bytes();
        if key.is_empty() || key.len() > MAX_KEY || !key.iter().all(u8::is_ascii_graphic) {
            return Err(Error::Invalid(format!("Idempotency-Key: must be 1 to {MAX_KEY} visible ASCII characters")));
        }
        let mut framed = u32::try_from(body.name.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        framed.extend_from_slice(body.name.as_bytes());
        framed.extend_from_slice(body.value.as_bytes());
        Ok(Some(Self { key: String::from_utf8_lossy(key).into_owned(), body: framed }))
    }
}
