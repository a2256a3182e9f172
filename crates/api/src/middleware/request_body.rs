//! What is left of a request's body when its answer is there.
//!
//! Whoever answers without having read the whole body has two ways (RFC 9112, 9.3): to read on, so that the next request can
//! be found behind it, or to close the connection and to say so. What has arrived already is read on; more is not waited
//! for. A client that asked first (`Expect: 100-continue`) has been told by the answer not to send its body at all.

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

/// How often the connection gets a turn to bring what it has. One is enough for a body that came with its head; a proxy's
/// larger one comes in a few reads.
const TURNS: usize = 8;

/// Marks an answer after which the connection is closed with bytes of the client's still on their way.
#[derive(Debug, Clone, Copy)]
pub struct LeftUnread;

/// The body of a request, also while its handler has it.
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

/// The handler's side.
struct Shared(Arc<Mutex<Reading>>);

impl RequestBody {
    /// Takes part in the reading of the body; `None` when the request has none.
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

    /// Reads on without waiting; whether the body has come to its end.
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

/// The next frame's length, `None` at the end; or nothing, when nothing is there yet.
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
