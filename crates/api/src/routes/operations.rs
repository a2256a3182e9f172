//! Every operation and every way it can end: the one table from which the initial series of the metrics, `openapi.json`
//! and the tests are derived.

use axum::http::StatusCode;

use crate::{metrics::requests::Outcome, middleware::route::Route, problem::Code};

/// For every request: an oversized head, a defect of this service, a client that disconnects.
const EVERYWHERE: [Code; 4] = [Code::UriTooLong, Code::HeadersTooLarge, Code::Internal, Code::ClientClosed];

/// For `/data`: the limits and the dependencies.
const DATA: [Code; 10] = [
    Code::InvalidRequest,
    Code::PreconditionFailed,
    Code::RateLimited,
    Code::Overloaded,
    Code::DatabaseUnavailable,
    Code::DatabaseNotAsked,
    Code::DatabaseBusy,
    Code::DatabaseTimeout,
    Code::RecordLocked,
    Code::DeadlineExceeded,
];

/// For a request with a body.
const BODY: [Code; 3] = [Code::RequestTimeout, Code::PayloadTooLarge, Code::UnsupportedMediaType];

/// The success statuses of an operation; none when the route does not have the method.
pub fn good(route: Route, method: &str) -> &'static [StatusCode] {
    if !route.methods().contains(&method) {
        return &[];
    }
    match (route, method) {
        (_, "OPTIONS") | (Route::Record, "DELETE") => &[StatusCode::NO_CONTENT],
        (Route::Records, "POST") => &[StatusCode::CREATED],
        (Route::Records | Route::Record, "GET" | "HEAD") => &[StatusCode::OK, StatusCode::NOT_MODIFIED],
        _ => &[StatusCode::OK],
    }
}

/// The codes with which an operation can fail.
pub fn codes(route: Route, method: &str) -> Vec<Code> {
    let mut codes = EVERYWHERE.to_vec();
    let is_write = matches!(method, "POST" | "PUT" | "DELETE");
    let has_body = matches!(method, "POST" | "PUT");
    match route {
        _ if method == "OPTIONS" => {}
        Route::Records | Route::Record => {
            codes.extend(DATA);
            codes.extend(BODY.iter().filter(|_| has_body));
            codes.extend([Code::DatabaseReadOnly, Code::DatabaseFull].into_iter().filter(|_| is_write));
            codes.extend((method == "POST").then_some(Code::IdempotencyKeyReused));
            codes.extend((route == Route::Record && method != "DELETE").then_some(Code::NotFound));
        }
        // Its 503 is not a problem document, but is counted as one.
        Route::Health => codes.push(Code::DatabaseUnavailable),
        Route::Readyz => codes.push(Code::Draining),
        Route::Problem => codes.push(Code::NotFound),
        Route::Livez | Route::Metrics | Route::OpenApi | Route::Unmatched => {}
    }
    codes.sort_by_key(|code| (code.status(), *code as u8));
    codes
}

/// Every way in which an operation can end.
pub fn outcomes(route: Route, method: &str) -> impl Iterator<Item = Outcome> {
    let good = good(route, method).iter().copied().map(Outcome::Good);
    good.chain(codes(route, method).into_iter().map(Outcome::Problem))
}
