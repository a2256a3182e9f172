//! The real binary over real Postgres and Redis, as a client sees it.

#![expect(unreachable_pub, reason = "one program: its modules share their helpers")]

mod bad_input;
mod caching;
mod cancellation;
mod contract;
mod guards;
mod http;
mod lifecycle;
mod limits;
mod observability;
mod privileges;
mod proxy;
mod records;
mod replica;
mod servers;
mod switches;
