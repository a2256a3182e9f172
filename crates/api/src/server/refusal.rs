//! The end of a connection that hyper ended: what the client still gets to read, and that the refusal is counted and logged
//! like every other.
//!
//! A head that cannot be read never becomes a request, so hyper answers it alone: 400 or 431 without a body, and it leaves
//! no room for one. A head that does not come in time it drops without a word; that one is answered here. A connection on
//! which nothing was begun is closed in silence, as clients expect it of one that was idle.

use std::time::Duration;

use axum::body::Bytes;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{middleware, problem::Code, state::AppState};

/// For the answer to a client that has been slow before, and for what it sends while it reads the answer. Closed earlier,
/// the kernel would reset the connection at the client's next bytes, and the answer could be lost with it (RFC 9112, 9.6).
const LINGER: Duration = Duration::from_secs(1);

/// Says goodbye to a client whose head was refused.
pub(super) async fn conclude(state: &AppState, error: &hyper::Error, mut stream: TcpStream, head: &Bytes) {
    let Some(refusal) = Refusal::of(error, head) else {
        // A client that hung up: nothing to answer to.
        tracing::debug!(error = %error, "connection ended");
        return;
    };
    let answer = middleware::refuse_head(state.clone(), refusal.code, refusal.detail);
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

/// Reads and drops what the client still sends, until it has closed its side, for [`LINGER`] at most.
pub(super) async fn linger(mut stream: TcpStream) {
    let mut dropped = vec![0; 16 * 1024];
    let reading = async { while matches!(stream.read(&mut dropped).await, Ok(1..)) {} };
    // The time is over, or the client has closed: both are the end.
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
    /// `head`: what was read of it and not understood.
    fn of(error: &hyper::Error, head: &Bytes) -> Option<Self> {
        let refusal = |code, detail, is_answered| Some(Self { code, detail, is_answered });
        if error.is_timeout() && !head.is_empty() {
            return refusal(Code::RequestTimeout, "the request head did not arrive in time", false);
        }
        if error.is_parse_version_h2() {
            return refusal(Code::InvalidRequest, "this is HTTP/2, and HTTP/1.1 is spoken here", false);
        }
        // Of the target alone, too: all of the head is larger than its buffer before the target is too long for hyper.
        if error.is_parse_too_large() {
            return refusal(Code::HeadersTooLarge, "the request head is too large", true);
        }
        if error.is_parse() {
            return refusal(Code::InvalidRequest, "this is not a well-formed HTTP/1.1 request", true);
        }
        None
    }
}
