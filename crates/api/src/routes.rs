//! The router: which handler serves which route, and the layer around them.

use std::any::Any;

use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use strum::VariantArray;
use tower::Layer;
use tower_http::catch_panic::{CatchPanic, CatchPanicLayer};

use crate::{error::Error, middleware::route::Route, state::AppState};

pub mod admission;
pub mod health;
pub mod methods;
pub mod metrics;
pub mod openapi;
pub mod operations;
pub mod problems;
pub mod records;

/// The routes, and the one layer around them. The limits of `/data` are an argument of its handlers
/// ([`admission::Place`]). As a layer they would be created once per route, and would cost time on every other route
/// too.
pub fn router(state: AppState) -> Routes {
    let routes = Route::VARIANTS.iter().filter_map(|route| Some((route.as_str(), handlers(*route)?)));
    let router = routes.fold(Router::new(), |router, (path, handlers)| router.route(path, handlers));
    let router = router
        .fallback(methods::answer_without_route)
        .method_not_allowed_fallback(methods::answer_other_methods)
        .with_state(state);
    // A panic in a handler is a 500 for one request, and the middleware counts it like any other answer.
    CatchPanicLayer::custom(panicked as fn(_) -> _).layer(router)
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

/// All routes, ready to be called.
pub type Routes = CatchPanic<Router, fn(Box<dyn Any + Send>) -> Response>;

fn panicked(_cause: Box<dyn Any + Send>) -> Response {
    Error::Internal.into_response()
}
