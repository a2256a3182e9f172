//! The rest of a request's body after its answer is ready.
//!
//! A server that answers before it has read the whole body can read the rest, so that the next request follows on the
//! same connection, or announce and close the connection (RFC 9112, 9.3). This module reads what has already arrived,
//! and does not wait for more. After `Expect: 100-continue` the answer tells the client not to send its body, so
//! nothing is read.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{Request, header},
};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

use crate::http::body::MAX_BODY;

/// How often the connection is polled for more data. One poll is enough for a body that arrived with its head; a larger
/// one from a proxy takes a few reads.
const TURNS: usize = 8;

/// Marks an answer after which the connection is closed although the client may still be sending.
#[derive(Debug, Clone, Copy)]
pub struct LeftUnread;

/// The middleware's handle to a request's body, valid while the handler reads the body.
#[derive(Debug)]
pub(super) struct RequestBody {
    shared: Arc<Mutex<Reading>>,
    is_waited_for: bool,
}

#[derive(Debug)]
struct Reading {
    incoming: Incoming,
    ended: bool,
}

/// The handler's handle to the body.
struct Shared(Arc<Mutex<Reading>>);

impl RequestBody {
    /// Wraps the body so that the middleware can read it later; `None` when the request has no body.
    pub(super) fn watch(request: Request<Incoming>) -> (Request<Body>, Option<Self>) {
        if request.body().is_end_stream() {
            return (request.map(|_| Body::empty()), None);
        }
        let is_waited_for = request.headers().contains_key(header::EXPECT);
        let (head, incoming) = request.into_parts();
        let shared = Arc::new(Mutex::new(Reading { incoming, ended: false }));
        let body = Body::new(Shared(Arc::clone(&shared)));
        (Request::from_parts(head, body), Some(Self { shared, is_waited_for }))
    }

    /// Reads the data that has arrived, without waiting. Returns whether the body is complete.
    pub(super) async fn read_on(self) -> bool {
        let mut rest = Shared(self.shared);
        if rest.has_ended() {
            return true;
        }
        if self.is_waited_for || HttpBody::size_hint(&rest).lower() > MAX_BODY as u64 {
            return false;
        }
        let mut read = 0;
        for _ in 0..TURNS {
            while let Some(frame) = next_if_there(&mut rest).await {
                match frame {
                    Some(Ok(data)) => read += data,
                    Some(Err(())) => return false,
                    None => return true,
                }
                if read > MAX_BODY {
                    return false;
                }
            }
            tokio::task::yield_now().await;
        }
        rest.has_ended()
    }
}

/// The next frame's length, `Some(None)` at the end of the body, or `None` when no frame has arrived yet.
async fn next_if_there(rest: &mut Shared) -> Option<Option<Result<usize, ()>>> {
    let mut frame = pin!(rest.frame());
    let polled = poll_fn(|context| Poll::Ready(frame.as_mut().poll(context))).await;
    match polled {
        Poll::Pending => None,
        Poll::Ready(frame) => {
            let length = |frame: Frame<Bytes>| frame.data_ref().map_or(0, Bytes::len);
            Some(frame.map(|frame| frame.map(length).map_err(drop)))
        }
    }
}

impl Shared {
    fn reading(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_ended(&self) -> bool {
        let reading = self.reading();
        reading.ended || reading.incoming.is_end_stream()
    }
}

impl HttpBody for Shared {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut reading = self.reading();
        let frame = Pin::new(&mut reading.incoming).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) {
            reading.ended = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.has_ended()
    }

    fn size_hint(&self) -> SizeHint {
        self.reading().incoming.size_hint()
    }
}
