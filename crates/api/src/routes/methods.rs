//! Methods without a handler. OPTIONS is answered with the list of allowed methods (RFC 9110, 9.3.7); every other
//! method is refused with the same list (15.5.6).

use axum::{
    http::{HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use crate::{error::Error, middleware::route::Route};

/// A known route, with a method that has no handler.
pub(super) async fn answer_other_methods(method: Method, uri: Uri) -> Response {
    let route = Route::of(uri.path());
    match method {
        Method::OPTIONS => allowed(StatusCode::NO_CONTENT.into_response(), route),
        _ => allowed(Error::MethodNotAllowed.into_response(), route),
    }
}

/// An unknown route. `OPTIONS *` concerns the service as a whole.
pub(super) async fn answer_without_route(method: Method, uri: Uri) -> Response {
    if method == Method::OPTIONS && uri.path() == "*" {
        return allowed(StatusCode::NO_CONTENT.into_response(), Route::Unmatched);
    }
    Error::NoRoute.into_response()
}

fn allowed(mut response: Response, route: Route) -> Response {
    // Method names are always a valid header value.
    if let Ok(methods) = HeaderValue::try_from(route.methods().join(", ")) {
        response.headers_mut().insert(header::ALLOW, methods);
    }
    response
}
