//! The reference for the hot path: one bare axum route that answers with a body as large as a record, on one thread.
//!
//! `cargo run --release --example bare -- 127.0.0.1:9000`

use std::error::Error;

use axum::{Router, http::header, routing::get};

const BODY: &str = r#"{"id":1,"name":"demo 1","value":"the value of demo record 1","version":1,"updated_at":"2026-01-01T00:00:00.000000Z"}"#;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: bare ADDRESS:PORT")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        let route = get(async || ([(header::CONTENT_TYPE, "application/json")], BODY));
        axum::serve(listener, Router::new().route("/data/{id}", route)).await?;
        Ok(())
    })
}
