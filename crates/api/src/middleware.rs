//! The middleware around every request. It is outside of everything that can cancel a request.
//!
//! In the order of time: take or generate the request id and the trace, refuse oversized heads, call the router, write
//! the body of a problem, add `X-Instance`, `X-Request-Id` and `traceparent`, update the metrics, log one line. A
//! request whose client disconnects is counted and logged too, when its future is dropped.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{
    body::HttpBody,
    http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Version, header},
    response::{IntoResponse, Response},
};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use time::{OffsetDateTime, macros::format_description};
use tokio::time::Instant;

pub mod access_log;
mod hex;
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
    http::answer::{AnswerBody, NO_STORE, Observed},
    metrics::requests::Outcome,
    problem::{Code, OwnBody, Problem, retry_after},
    routes::{Answered, Routes},
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

/// Serves one request. `left_unread`, if the request has a body, is set to whether a part of it was not read.
///
/// # Errors
/// Never: every failure is an answer.
pub async fn handle(
    routes: Routes,
    request: Request<Incoming>,
    left_unread: Option<Arc<AtomicBool>>,
) -> Result<Response<AnswerBody>, Infallible> {
    let mut scope = RequestScope::begin(routes, &request);
    let is_direct = Routes::is_direct(scope.line.route, &request) && request.body().is_end_stream();
    let (response, observed) = if is_direct && check_head(&request).is_ok() {
        scope.routes.read_record(request, scope.start).await
    } else {
        // The box keeps the future of a hit small, because that future is moved for each request.
        Box::pin(handle_any(&scope.routes, request)).await
    };
    if let Some(left_unread) = left_unread {
        left_unread.store(response.extensions().get::<LeftUnread>().is_some(), Ordering::Relaxed);
    }
    Ok(scope.end(response, observed))
}

async fn handle_any(routes: &Routes, request: Request<Incoming>) -> Answered {
    let (request, body) = RequestBody::watch(request);
    let (mut response, observed) = match check_head(&request) {
        Ok(()) => routes.answer(request).await,
        Err(error) => (error.into_response().map(Either::Right), Observed::default()),
    };
    if let Some(body) = body
        && !body.read_on().await
    {
        response.extensions_mut().insert(LeftUnread);
    }
    (response, observed)
}

/// Counts and logs a request whose head could not be parsed, and returns the answer as bytes for the connection.
pub(crate) fn refuse_head(routes: Routes, code: Code, detail: &str) -> Vec<u8> {
    let mut scope = RequestScope::without_head(routes);
    let problem = Problem::new(code, detail);
    let body = problem.document(scope.id.as_str(), scope.trace.id());
    let mut response = scope.end(problem.into_response().map(Either::Right), Observed::default());
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
    routes: Routes,
    line: Line,
    id: RequestId,
    trace: Trace,
    start: Instant,
    http_1_0: bool,
    ended: bool,
}

impl RequestScope {
    fn begin<B>(routes: Routes, request: &Request<B>) -> Self {
        let id = RequestId::take_or_make(request.headers());
        let trace = Trace::continue_or_begin(request.headers(), &id);
        let uri = routes.state().access_log.is_some().then(|| request.uri().clone());
        let line = Line::new(request.method().clone(), Route::of(request.uri().path()), uri);
        let http_1_0 = request.version() == Version::HTTP_10;
        Self::new(routes, line, (id, trace), http_1_0)
    }

    /// For a request whose head could not be parsed.
    fn without_head(routes: Routes) -> Self {
        let id = RequestId::take_or_make(&HeaderMap::new());
        let trace = Trace::continue_or_begin(&HeaderMap::new(), &id);
        Self::new(routes, Line::without_head(), (id, trace), false)
    }

    fn new(routes: Routes, line: Line, (id, trace): (RequestId, Trace), http_1_0: bool) -> Self {
        routes.state().metrics.active_requests.inc();
        Self { routes, line, id, trace, start: Instant::now(), http_1_0, ended: false }
    }

    fn end(&mut self, mut response: Response<AnswerBody>, observed: Observed) -> Response<AnswerBody> {
        let outcome = self.outcome(&mut response);
        let is_left_unread = response.extensions().get::<LeftUnread>().is_some();
        let status = response.status();
        let headers = response.headers_mut();
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            // axum adds `Content-Length: 0`. That is forbidden for 204, and wrong for 304, where the field is the
            // length of the full representation (RFC 9110, 8.6).
            headers.remove(header::CONTENT_LENGTH);
        }
        headers.insert(X_INSTANCE, self.routes.state().instance_header.clone());
        headers.insert(TRACEPARENT, self.trace.header());
        if (self.routes.state().is_draining() || is_left_unread) && !self.http_1_0 {
            headers.insert(header::CONNECTION, CLOSE);
        }
        self.count(outcome, observed);
        // Last, because the id is moved.
        response.headers_mut().insert(X_REQUEST_ID, self.id.take_header());
        response
    }

    /// Returns how the request ended, and writes the body of a problem.
    fn outcome(&self, response: &mut Response<AnswerBody>) -> Outcome {
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
        *response.body_mut() = Either::Left(Full::from(problem.document(self.id.as_str(), self.trace.id())));
        self.say_when_to_return(problem.earliest_retry, response);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        headers.insert(header::CACHE_CONTROL, NO_STORE);
        // A library's own error answer had another length.
        headers.remove(header::CONTENT_LENGTH);
        Outcome::Problem(problem.code)
    }

    fn say_when_to_return(&self, earliest: Option<u64>, response: &mut Response<AnswerBody>) {
        if let Some(earliest) = earliest {
            response.headers_mut().insert(header::RETRY_AFTER, retry_after(earliest, self.trace.span()));
        }
    }

    fn count(&mut self, outcome: Outcome, observed: Observed) {
        self.ended = true;
        let duration = self.start.elapsed();
        let state = self.routes.state();
        state.metrics.active_requests.dec();
        state.request_metrics.observe(self.line.method(), self.line.route, outcome, duration);
        if let Some(log) = &state.access_log {
            self.line.write(
                log,
                state.instance(),
                (self.id.as_bytes(), self.trace.id().as_bytes()),
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
            self.count(Outcome::Problem(Code::ClientClosed), Observed::default());
        }
    }
}
