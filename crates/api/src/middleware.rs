//! The middleware around every request. It is outside of everything that can cancel a request.
//!
//! In the order of time: take or generate the request id and the trace, refuse oversized heads, call the router, write
//! the body of a problem, add `X-Instance`, `X-Request-Id` and `traceparent`, update the metrics, log one line. A
//! request whose client disconnects is counted and logged too, when its future is dropped.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use hyper::body::Incoming;
use time::{OffsetDateTime, macros::format_description};
use tokio::time::Instant;
use tower::Service;

pub mod access_log;
pub mod request_body;
pub mod request_id;
pub mod route;
pub mod trace;

use self::{
    access_log::Line,
    request_body::{LeftUnread, RequestBody},
    request_id::RequestId,
    route::Route,
    trace::Trace,
};
use crate::{
    error::Error,
    http::answer::{NO_STORE, Observed},
    metrics::requests::Outcome,
    problem::{Code, OwnBody, Problem, retry_after},
    routes::Routes,
    state::AppState,
};

/// Longest request target: far above the longest valid one, below the limit of common proxies (8 KiB).
const MAX_URI: usize = 4 * 1024;
/// Largest request head: the sum of header names and values. nginx in front allows 8 KiB.
const MAX_HEAD: usize = 16 * 1024;

const X_INSTANCE: HeaderName = HeaderName::from_static("x-instance");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Serves one request.
///
/// # Errors
/// Never: every failure is an answer.
pub async fn handle(state: AppState, mut routes: Routes, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut scope = RequestScope::begin(state, &request);
    let (request, body) = RequestBody::watch(request);
    let mut response = match check_head(&request) {
        Ok(()) => match routes.call(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        },
        Err(error) => error.into_response(),
    };
    if let Some(body) = body
        && !body.read_on().await
    {
        response.extensions_mut().insert(LeftUnread);
    }
    Ok(scope.end(response))
}

/// Counts and logs a request whose head could not be parsed, and returns the answer as bytes for the connection.
pub(crate) fn refuse_head(state: AppState, code: Code, detail: &str) -> Vec<u8> {
    let mut scope = RequestScope::without_head(state);
    let problem = Problem::new(code, detail);
    let body = problem.document(scope.id.as_str(), scope.trace.id());
    let mut response = scope.end(problem.into_response());
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, CLOSE);
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    headers.insert(header::DATE, date());
    let mut answer = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            answer.extend_from_slice(part);
        }
    }
    answer.extend_from_slice(b"\r\n");
    answer.extend_from_slice(&body);
    answer
}

/// The current time in HTTP's format (RFC 9110, 5.6.7).
fn date() -> HeaderValue {
    let format =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    let date = OffsetDateTime::now_utc().format(format).unwrap_or_default();
    HeaderValue::try_from(date).unwrap_or(HeaderValue::from_static("-"))
}

fn check_head<B>(request: &Request<B>) -> Result<(), Error> {
    if request.uri().path_and_query().is_some_and(|target| target.as_str().len() > MAX_URI) {
        return Err(Error::UriTooLong { limit: MAX_URI });
    }
    let head: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if head > MAX_HEAD { Err(Error::HeadersTooLarge { limit: MAX_HEAD }) } else { Ok(()) }
}

/// A request in flight. If it is dropped before its answer, the client has disconnected.
struct RequestScope {
    state: AppState,
    line: Line,
    id: RequestId,
    trace: Trace,
    start: Instant,
    http_1_0: bool,
    ended: bool,
}

impl RequestScope {
    fn begin<B>(state: AppState, request: &Request<B>) -> Self {
        let id = RequestId::take_or_make(request.headers());
        let trace = Trace::continue_or_begin(request.headers(), &id);
        let line = Line::new(request.method().clone(), Route::of(request.uri().path()), request.uri());
        let http_1_0 = request.version() == Version::HTTP_10;
        Self::new(state, line, (id, trace), http_1_0)
    }

    /// For a request whose head could not be parsed.
    fn without_head(state: AppState) -> Self {
        let id = RequestId::take_or_make(&HeaderMap::new());
        let trace = Trace::continue_or_begin(&HeaderMap::new(), &id);
        Self::new(state, Line::without_head(), (id, trace), false)
    }

    fn new(state: AppState, line: Line, (id, trace): (RequestId, Trace), http_1_0: bool) -> Self {
        state.metrics.active_requests.inc();
        Self { state, line, id, trace, start: Instant::now(), http_1_0, ended: false }
    }

    fn end(&mut self, mut response: Response) -> Response {
        let outcome = self.outcome(&mut response);
        let observed = response.extensions_mut().remove::<Observed>();
        let is_left_unread = response.extensions().get::<LeftUnread>().is_some();
        let status = response.status();
        let headers = response.headers_mut();
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            // axum adds `Content-Length: 0`. That is forbidden for 204, and wrong for 304, where the field is the
            // length of the full representation (RFC 9110, 8.6).
            headers.remove(header::CONTENT_LENGTH);
        }
        headers.insert(X_INSTANCE, self.state.instance_header.clone());
        headers.insert(X_REQUEST_ID, self.id.header());
        headers.insert(TRACEPARENT, self.trace.header());
        if (self.state.is_draining() || is_left_unread) && !self.http_1_0 {
            headers.insert(header::CONNECTION, CLOSE);
        }
        self.count(outcome, observed);
        response
    }

    /// Returns how the request ended, and writes the body of a problem.
    fn outcome(&self, response: &mut Response) -> Outcome {
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Outcome::Good(status);
        }
        if let Some(OwnBody(code)) = response.extensions_mut().remove() {
            self.say_when_to_return(code.earliest_retry(), response);
            return Outcome::Problem(code);
        }
        let problem = response.extensions_mut().remove::<Problem>();
        let problem = problem.unwrap_or_else(|| Problem::new(Code::of_status(status), "the request was refused"));
        *response.body_mut() = Body::from(problem.document(self.id.as_str(), self.trace.id()));
        self.say_when_to_return(problem.earliest_retry, response);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        // A library's own error answer had another length.
        headers.remove(header::CONTENT_LENGTH);
        Outcome::Problem(problem.code)
    }

    fn say_when_to_return(&self, earliest: Option<u64>, response: &mut Response) {
        if let Some(earliest) = earliest {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after(earliest, self.trace.span()));
        }
    }

    fn count(&mut self, outcome: Outcome, observed: Option<Observed>) {
        self.ended = true;
        let duration = self.start.elapsed();
        self.state.metrics.active_requests.dec();
        self.state.request_metrics.observe(self.line.method(), self.line.route, outcome, duration);
        if let Some(log) = &self.state.access_log {
            self.line.write(
                log,
                self.state.instance(),
                (self.id.as_str(), self.trace.id()),
                outcome,
                duration,
                observed,
            );
        }
    }
}

impl Drop for RequestScope {
    fn drop(&mut self) {
        if !self.ended {
            self.count(Outcome::Problem(Code::ClientClosed), None);
        }
    }
}
