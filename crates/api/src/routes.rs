//! The router: which handler answers what, and what stands in front of it.

use axum::{Router, middleware, routing::get};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{error::Error, state::AppState};

pub mod admission;
pub mod body;
pub mod conditions;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod records;

/// All routes. What stands in front of a handler, from the outside in, each with its reason:
pub fn router(state: AppState) -> Router {
    let data = Router::new()
        .route("/data", get(records::list_records).post(records::create_record))
        .route(
            "/data/{id}",
            get(records::get_record)
                .put(records::replace_record)
                .delete(records::delete_record),
        )
        // Rate limit and admission limit: once for all routes of /data, so that "100 in flight" means the replica.
        .route_layer(middleware::from_fn_with_state(state.clone(), admission::admit));
    Router::new()
        .merge(data)
        // Outside of the limits: they must answer at any load.
        .route("/health", get(health::get_health))
        .route("/livez", get(health::get_livez))
        .route("/readyz", get(health::get_readyz))
        .route("/metrics", get(metrics::get_metrics))
        .route("/openapi.json", get(openapi::get_openapi))
        .fallback(async || Error::NoRoute)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        // A panic in a handler is a 500 for one request, and the border counts it like any other.
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state)
}

fn panicked(_cause: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    axum::response::IntoResponse::into_response(Error::Internal)
}
