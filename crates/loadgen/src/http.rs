//! The client's half of HTTP/1.1 that reads answers, without any I/O: bytes go in, answers come out.
//!
//! - [`response`]: one answer, from its status line to its last byte, however the bytes were cut
//! - [`head`]: what a response head means for framing, and whom the answer is from
//! - [`chunked`]: the chunked transfer coding
//!
//! Requests are prepared by [`crate::template`]; sockets belong to [`crate::engine`].

pub(crate) mod chunked;
pub(crate) mod head;
pub(crate) mod response;
