//! The resilience mechanisms of a service, one file each, usable in any service.
//!
//! What belongs here: decisions. May this request go on, may this call be tried again, how long may it still take?
//! What does not: I/O, HTTP, configuration, and the judgement of what counts as a failure; the caller brings those.
//! Time and chance come in as values (`now`, `chance`), so that every law can be tested without waiting.
//!
//! In the order in which a request meets them:
//! [`rate_limit`] → [`admission`] → [`deadline`] → [`single_flight`] → [`breaker`] → [`retry`] with its [`backoff`] and
//! its [`budget`].

pub mod admission;
pub mod backoff;
pub mod breaker;
pub mod budget;
pub mod deadline;
pub mod rate_limit;
pub mod retry;
pub mod single_flight;
