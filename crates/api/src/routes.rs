//! The router: which handler serves which route, and the layer around them.
//!
//! The most frequent request, a GET of one record, does not go through the router: that would cost a near hit a fifth of its
//! instructions. It has the same handler there, for HEAD.

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    Router,
    body::Body,
    http::{Method, Request},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use http_body_util::Either;
use strum::VariantArray;
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};

use crate::{
    error::Error,
    http::answer::{AnswerBody, Observed},
    middleware::route::Route,
    state::AppState,
};

pub mod admission;
pub mod health;
pub mod methods;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod problems;
pub mod records;

/// All routes, ready to be called. Clones share everything.
#[derive(Debug, Clone)]
pub struct Routes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: AppState,
    router: CatchPanic<Router, Panicked>,
}

/// Turns a panic into a response.
type Panicked = fn(Box<dyn Any + Send>) -> Response;

/// The response, and what the log says about it.
pub(crate) type Answered = (Response<AnswerBody>, Observed);

impl Routes {
    /// The routes, and the one layer around them. The limits of `/data` are an argument of its handlers
    /// ([`admission::Place`]). As a layer they would be created once per route, and would cost time on every other route
    /// too.
    pub fn new(state: AppState) -> Self {
        let routes = Route::VARIANTS.iter().filter_map(|route| Some((route.as_str(), handlers(*route)?)));
        let router = routes.fold(Router::new(), |router, (path, handlers)| router.route(path, handlers));
        let router = router
            .fallback(methods::answer_without_route)
            .method_not_allowed_fallback(methods::answer_other_methods)
            .with_state(state.clone());
        // A panic in a handler is a 500 for one request, and the middleware counts it like any other answer.
        Self(Arc::new(Inner { state, router: CatchPanicLayer::custom(panicked as fn(_) -> _).layer(router) }))
    }

    /// The state that the handlers share.
    pub fn state(&self) -> &AppState {
        &self.0.state
    }

    /// Whether [`read_record`](Self::read_record) answers the request.
    pub(crate) fn is_direct<B>(route: Route, request: &Request<B>) -> bool {
        route == Route::Record && *request.method() == Method::GET
    }

    /// Answers a GET of one record that was received at `received`.
    pub(crate) async fn read_record<B>(&self, request: Request<B>, received: Instant) -> Answered {
        let mut read = pin!(records::read_record(&self.0.state, request, received));
        let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| read.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(cause) => Poll::Ready(Err(cause)),
        });
        match caught.await {
            Ok(answer) => answer.into_parts(),
            Err(cause) => (panicked(cause).map(Either::Right), Observed::default()),
        }
    }

    /// Answers any request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Answered {
        let mut response = match self.0.router.clone().call(request).await {
            Ok(response) => response.map(|body| Either::Right(Body::new(body))),
            Err(never) => match never {},
        };
        let observed = response.extensions_mut().remove().unwrap_or_default();
        (response, observed)
    }
}

/// The handlers of each route. A route that the metrics and `openapi.json` do not know cannot be served.
fn handlers(route: Route) -> Option<MethodRouter<AppState>> {
    Some(match route {
        Route::Records => get(records::list_records).post(records::create_record),
        Route::Record => get(records::get_record).put(records::replace_record).delete(records::delete_record),
        Route::Health => get(health::get_health),
        Route::Livez => get(health::get_livez),
        Route::Readyz => get(health::get_readyz),
        Route::Metrics => get(metrics::get_metrics),
        Route::OpenApi => get(openapi::get_openapi),
        Route::Problem => get(problems::get_problem),
        Route::Unmatched => return None,
    })
}

fn panicked(_cause: Box<dyn Any + Send>) -> Response {
    Error::Internal.into_response()
}
