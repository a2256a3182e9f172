//! Records: the read path and the write path, over the cache and the database.

pub(crate) mod flights;
pub mod model;
pub mod reads;
pub mod sql;
pub mod writes;
