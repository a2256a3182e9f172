//! `/openapi.json`: the description of this API, generated from the table of operations. Tests compare the running
//! service with it.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

use crate::http::answer::NO_CACHE;

#[cfg(test)]
mod generate;

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn get_openapi() -> Response {
    let mut response = DOCUMENT.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    response
}
