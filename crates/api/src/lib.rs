//! `api`: a stateless service over Postgres and Redis that keeps its promises while they fail.
//!
//! A request comes in through [`server`], passes the [`middleware`] (request id, metrics, access log), the router in
//! [`routes`], and the read or write path in [`records`]; that asks the [`cache`] and the [`dependencies`].
//! [`startup`] puts everything together, read from top to bottom.

pub mod cache;
pub mod cli;
pub mod config;
pub mod dependencies;
pub mod error;
pub mod http;
pub mod metrics;
pub mod middleware;
pub mod problem;
pub mod records;
pub mod routes;
pub mod server;
pub mod startup;
pub mod state;
pub mod telemetry;
