//! Ends a connection that hyper has given up on. Sends the answer that hyper does not send, and counts and logs the
//! refusal like every other.
//!
//! A head that cannot be parsed never becomes a request. hyper answers it itself with 400 or 431 and no body, and
//! offers no way to add one. hyper closes a connection whose head does not arrive in time without an answer; the answer
//! is sent here. A connection without any byte of a request is closed without an answer, as clients expect of an idle
//! connection.

use std::time::Duration;

use axum::body::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{middleware, problem::Code, routes::Routes};

/// Time for writing the answer to a slow client, and for reading what the client sends in the meantime. If the
/// connection were closed earlier, the kernel would reset it at the client's next bytes, and the answer could be lost
/// (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Answers a client whose head was refused, if hyper has not, and closes the connection.
pub(super) async fn conclude(routes: &Routes, error: &hyper::Error, mut stream: TcpStream, head: &Bytes) {
    let Some(refusal) = Refusal::of(error, head) else {
        // The client has disconnected: no answer can be sent.
        tracing::debug!(error = %error, "connection ended");
        return;
    };
    let answer = middleware::refuse_head(routes.clone(), refusal.code, refusal.detail);
    if !refusal.is_answered {
        let written = tokio::time::timeout(LINGER, async {
            stream.write_all(&answer).await?;
            stream.shutdown().await
        });
        if !matches!(written.await, Ok(Ok(()))) {
            return;
        }
    }
    linger(stream).await;
}

/// Reads and discards what the client still sends until it closes its side, for [`LINGER`] at most.
pub(super) async fn linger(mut stream: TcpStream) {
    let mut dropped = vec![0; 16 * 1024];
    let reading = async { while matches!(stream.read(&mut dropped).await, Ok(1..)) {} };
    // Time-out or end of the connection: both end the wait.
    let _ = tokio::time::timeout(LINGER, reading).await;
}

/// Why a head was refused.
struct Refusal {
    code: Code,
    detail: &'static str,
    /// Whether hyper has written an answer.
    is_answered: bool,
}

impl Refusal {
    /// `head`: the bytes that were read and not parsed.
    fn of(error: &hyper::Error, head: &Bytes) -> Option<Self> {
        let refusal = |code, detail, is_answered| Some(Self { code, detail, is_answered });
        if error.is_timeout() && !head.is_empty() {
            return refusal(Code::RequestTimeout, "the request head did not arrive in time", false);
        }
        if error.is_parse_version_h2() {
            return refusal(Code::InvalidRequest, "this server supports HTTP/1.1 and not HTTP/2", false);
        }
        // A long target also ends here: the head exceeds its buffer before the target exceeds hyper's own limit.
        if error.is_parse_too_large() {
            return refusal(Code::HeadersTooLarge, "the request head is too large", true);
        }
        if error.is_parse() {
            return refusal(Code::InvalidRequest, "this is not a well-formed HTTP/1.1 request", true);
        }
        None
    }
}
