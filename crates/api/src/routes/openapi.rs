//! `/openapi.json`: the description of this API, a file that tests hold against the running service.

use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};

/// The document.
pub const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn get_openapi() -> Response {
    let mut response = DOCUMENT.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
