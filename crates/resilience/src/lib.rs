//! The resilience mechanisms of a service, one file each, usable in any service.
//!
//! This crate makes decisions: whether a request may proceed, whether a call may be retried, how long it may still
//! take. It does no I/O, knows no HTTP and no configuration, and the caller decides what counts as a failure. Time and
//! randomness are arguments (`now`, `chance`), so that every property can be tested without waiting.
//!
//! In the order in which a request passes them:
//! [`rate_limit`] → [`admission`] → [`deadline`] → [`single_flight`] → [`breaker`] → [`retry`] with its [`backoff`] and
//! its [`budget`].

pub mod adaptive;
pub mod admission;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod deadline;
pub mod rate_limit;
pub mod retry;
pub mod single_flight;
pub mod timeout;
pub mod waiting;
