//! `/problems/{code}`: the page that the `type` of a problem refers to.

use axum::{
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
};

use crate::{
    error::Error,
    http::answer::NO_CACHE,
    problem::catalogue::{self, Kind},
};

pub(super) async fn get_problem(uri: Uri) -> Result<Response, Error> {
    let code = uri.path().strip_prefix(catalogue::BASE).unwrap_or_default();
    let kind = Kind::find(code).ok_or(Error::NoRoute)?;
    let mut response = kind.page().into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/markdown; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, NO_CACHE);
    Ok(response)
}
