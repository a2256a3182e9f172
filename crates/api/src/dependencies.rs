//! The dependencies, each behind its guards, and the probers that know whether they answer.

pub mod guard;
pub mod lease;
pub mod postgres;
pub mod prober;
pub mod redis;
