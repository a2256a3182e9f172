//! The real binary over real Postgres and Redis, as a client sees it.

mod bad_input;
mod caching;
mod contract;
mod http;
mod lifecycle;
mod limits;
mod records;
mod replica;
mod servers;
