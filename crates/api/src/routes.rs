//! The router: which handler answers what, and what stands in front of it.

use std::any::Any;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use tower::Layer;
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};

use crate::{error::Error, state::AppState};

pub mod admission;
pub mod health;
pub mod methods;
pub mod metrics;
pub mod openapi;
pub mod problems;
pub mod records;

/// The routes, and the one layer around them. The limits in front of `/data` are an argument of its handlers
/// ([`admission::Place`]): a layer would be made once per route, and be paid for by every other route.
pub fn router(state: AppState) -> Routes {
    let router = Router::new()
        .route("/data", get(records::list_records).post(records::create_record))
        .route("/data/{id}", get(records::get_record).put(records::replace_record).delete(records::delete_record))
        .route("/health", get(health::get_health))
        .route("/livez", get(health::get_livez))
        .route("/readyz", get(health::get_readyz))
        .route("/metrics", get(metrics::get_metrics))
        .route("/openapi.json", get(openapi::get_openapi))
        .route("/problems/{code}", get(problems::get_problem))
        .fallback(methods::answer_without_route)
        .method_not_allowed_fallback(methods::answer_other_methods)
        .with_state(state);
    // A panic in a handler is a 500 for one request, and the middleware counts it like any other.
    CatchPanicLayer::custom(panicked as fn(_) -> _).layer(router)
}

/// All routes, ready to be called.
pub type Routes = CatchPanic<Router, fn(Box<dyn Any + Send>) -> Response>;

fn panicked(_cause: Box<dyn Any + Send>) -> Response {
    Error::Internal.into_response()
}
