//! The parser of HTTP/1.1 answers, without I/O.
//!
//! - [`response`]: one answer, from its status line to its last byte, in pieces of any size
//! - [`head`]: what a response head says about framing and about the server that answered
//! - [`chunked`]: the chunked transfer coding
//!
//! [`crate::template`] prepares requests; [`crate::engine`] owns the sockets.

pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod response;
