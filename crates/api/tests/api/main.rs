//! The real binary with a real Postgres and Redis, from a client's view.

#![expect(unreachable_pub, reason = "one program: its modules share their helpers")]

mod bad_input;
mod caching;
mod cancellation;
mod conditions;
mod contract;
mod documented;
mod edge;
mod guards;
mod http;
mod lifecycle;
mod limits;
mod methods;
mod near_cache;
mod observability;
mod postgres_outcomes;
mod privileges;
mod proxy;
mod receipts;
mod records;
mod redis_outcomes;
mod redis_server;
mod redis_states;
mod replica;
mod series;
mod servers;
mod statuses;
mod switches;
mod unread;
