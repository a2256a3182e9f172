//! `api`: a stateless service over Postgres and Redis that keeps its guarantees while they fail.
//!
//! [`server`] accepts a request. It passes the [`middleware`] (request id, metrics, access log), the router in
//! [`routes`], and the read or write path in [`records`], which use the [`cache`] and the [`dependencies`]. [`startup`]
//! assembles everything.

pub mod cache;
pub mod cli;
pub mod config;
pub mod dependencies;
pub mod error;
pub mod http;
pub mod lab_faults;
pub mod metrics;
pub mod middleware;
pub mod problem;
pub mod records;
pub mod routes;
pub mod server;
pub mod short_text;
pub mod startup;
pub mod state;
pub mod telemetry;
