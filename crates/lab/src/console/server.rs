//! The routes of the console and how it listens: loopback only, on a port of its own.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
};

use axum::{
    Form, Json, Router,
    extract::{DefaultBodyLimit, Path, Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;
use tokio::net::TcpListener;

use super::{
    actions, form,
    hub::Hub,
    lens,
    page::{self, Audience},
    problem::Problem,
    reports, security, stream,
};

/// The first free one of these, unless a port is named.
const USUAL_PORTS: std::ops::Range<u16> = 7070..7090;
/// The longest form is that of the switches.
const LARGEST_FORM: usize = 16 << 10;

/// The files of the page, built into the program.
const ASSETS: [(&str, &str, &str); 4] = [
    ("console.js", "text/javascript; charset=utf-8", include_str!("../../assets/console/console.js")),
    ("console.css", "text/css; charset=utf-8", include_str!("../../assets/console/console.css")),
    ("uplot.js", "text/javascript; charset=utf-8", include_str!("../../assets/uplot/uPlot.iife.min.js")),
    ("uplot.css", "text/css; charset=utf-8", include_str!("../../assets/uplot/uPlot.min.css")),
];

/// Takes the port. `None`: a usual one, or any.
pub(super) async fn listen(port: Option<u16>) -> io::Result<TcpListener> {
    let on = |port| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    if let Some(port) = port {
        return on(port).await;
    }
    for port in USUAL_PORTS {
        match on(port).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            listener => return listener,
        }
    }
    on(0).await
}

pub(super) fn router(hub: Hub) -> Router {
    Router::new()
        .route("/", get(get_page))
        .route("/stream", get(stream::get_stream))
        .route("/assets/{name}", get(get_asset))
        .route("/run/report", get(reports::get_last))
        .route("/reports/", get(reports::get_index))
        .route("/reports/{*path}", get(reports::get_report))
        .route("/act/lens", post(post_lens))
        .route("/act/tour", post(post_tour))
        .route("/act/{name}", post(post_action))
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(LARGEST_FORM))
        // Outermost: nothing is answered to what may not ask.
        .layer(middleware::from_fn_with_state(hub.clone(), security::guard))
        .with_state(hub)
}

#[derive(Deserialize)]
struct PageQuery {
    token: Option<String>,
}

async fn get_page(
    State(hub): State<Hub>,
    Query(query): Query<PageQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let cookie = match &query.token {
        None => None,
        Some(token) => Some(security::cookie_for(&hub, token).ok_or_else(|| {
            let detail = "The token in the address is not that of this console; open the address that it printed.";
            Problem::new(StatusCode::FORBIDDEN, "wrong_token", detail.to_owned())
        })?),
    };
    let has_token = cookie.is_some() || security::has_token(&hub, &headers).unwrap_or(false);
    let frame = hub.frames.borrow().clone();
    let mut response = Html(page::document(&frame, Audience::of(&hub, has_token))).into_response();
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn get_asset(Path(name): Path<String>) -> Result<Response, Problem> {
    let (_, kind, text) = ASSETS.iter().find(|(known, ..)| *known == name).ok_or_else(nothing)?;
    // Short, so that a new build is seen; long enough for the tabs of a class.
    let headers = [(header::CONTENT_TYPE, *kind), (header::CACHE_CONTROL, "private, max-age=60")];
    Ok((headers, *text).into_response())
}

async fn not_found() -> Problem {
    nothing()
}

fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "There is nothing here; the console is at `/`.".to_owned())
}

async fn post_action(
    State(hub): State<Hub>,
    Path(name): Path<String>,
    headers: HeaderMap,
    form: Result<Form<form::Fields>, axum::extract::rejection::FormRejection>,
) -> Response {
    let performed = async {
        security::may_act(&hub, &headers)?;
        let Form(fields) = form.map_err(|rejection| Problem::invalid(rejection.body_text()))?;
        let rate = hub.history().points().next_back().map_or(0.0, super::history::Point::total);
        let action = form::action(&name, &fields, rate)?;
        let acting = hub.clone();
        blocking(move || actions::perform(&acting, action).map_err(Problem::from)).await
    };
    answer(&headers, performed.await, "/")
}

#[derive(Deserialize)]
struct LensForm {
    path: String,
    past_cache: Option<String>,
}

async fn post_lens(State(hub): State<Hub>, headers: HeaderMap, Form(form): Form<LensForm>) -> Response {
    let looked = async {
        security::may_act(&hub, &headers)?;
        let shared = hub.clone();
        blocking(move || {
            lens::look(&shared, form.path.trim(), form.past_cache.is_some()).map_err(Problem::from)?;
            Ok(format!("sent GET {}", form.path.trim()))
        })
        .await
    };
    answer(&headers, looked.await, "/#lens")
}

#[derive(Deserialize)]
struct TourForm {
    lesson: usize,
}

async fn post_tour(State(hub): State<Hub>, headers: HeaderMap, Form(form): Form<TourForm>) -> Response {
    let begun = security::may_act(&hub, &headers).map(|()| {
        hub.tour().begin_again(form.lesson);
        "the lesson begins again".to_owned()
    });
    answer(&headers, begun, "/#tour")
}

/// Every call of the stack waits.
async fn blocking(act: impl FnOnce() -> Result<String, Problem> + Send + 'static) -> Result<String, Problem> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|_| {
        let detail = "The action broke down; the terminal of the console says why.".to_owned();
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", detail))
    })
}

/// For the page's script as JSON; for a browser without scripts as the page again, or one that says what is wrong.
fn answer(headers: &HeaderMap, result: Result<String, Problem>, back: &str) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_page = accepted.contains("text/html");
    match result {
        Ok(_) if is_page => Redirect::to(back).into_response(),
        Ok(told) => Json(serde_json::json!({ "told": told })).into_response(),
        Err(problem) if is_page => (problem.status, Html(page::refusal(&problem))).into_response(),
        Err(problem) => problem.into_response(),
    }
}
