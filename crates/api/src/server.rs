//! Listener, connections and shutdown.
//!
//! # In the order of time
//! ## Serving
//! Each connection is a task of its own. There are at most `MAX_CONNECTIONS`; further clients wait in the kernel's
//! backlog. A client that does not send its whole request head within `HEADER_TIMEOUT` gets 408. An idle connection is
//! closed after the same time.
//! ## Not ready
//! After the first signal `/readyz` fails and every answer has `Connection: close`. New connections are still served
//! for `DRAIN_DELAY`, so that load balancers stop using this replica before the listener closes.
//! ## Draining
//! The listener is closed. Connections that were waiting in its backlog are served. A client may have sent a request on
//! any open connection, and a proxy does not repeat a POST that it has sent, so idle connections are closed a moment
//! later (`LAST_REQUESTS`). Requests in flight end. All of this takes at most `DRAIN_TIMEOUT`.
//! ## Stopped
//! The caller closes the pools last.

use std::{
    io,
    os::fd::AsFd,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{body::HttpBody, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{http::receipt::Peer, middleware, routes::Routes, state::AppState};

mod refusal;

/// hyper's own limit on the head, above the middleware's limit. hyper answers a larger head with 431 and no body.
const HEAD_BUFFER: usize = 64 * 1024;

/// From closing the listener to closing idle connections, for requests that are already sent.
const LAST_REQUESTS: Duration = Duration::from_millis(250);

/// Wait after an accept error, such as having no free file descriptor. Retrying at once would only use CPU time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is cancelled, then drains. Returns how many connections had to be cut.
pub async fn run(listener: TcpListener, routes: Routes, shutdown: CancellationToken) -> usize {
    let state = routes.state();
    let config = state.config.server.clone();
    let connections = TaskTracker::new();
    let drain = CancellationToken::new();
    let places = Arc::new(Semaphore::new(config.max_connections));
    let stop_accepting = async {
        shutdown.cancelled().await;
        state.start_draining();
        tracing::info!("not ready any more");
        tokio::time::sleep(config.drain_delay).await;
    };
    tokio::select! {
        () = stop_accepting => {}
        () = accept(&listener, &routes, &connections, &drain, &places) => {}
    }
    if let Err(error) = accept_waiting(listener, &routes, &connections, &drain, &places) {
        tracing::warn!(error = %error, "cannot accept the connections in the backlog");
    }
    drain.cancel();
    connections.close();
    tracing::info!(connections = connections.len(), "draining");
    if tokio::time::timeout(config.drain_timeout, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections cut after the drain time-out");
    }
    connections.len()
}

async fn accept(
    listener: &TcpListener,
    routes: &Routes,
    connections: &TaskTracker,
    drain: &CancellationToken,
    places: &Arc<Semaphore>,
) {
    loop {
        // The semaphore is never closed, so this always returns a permit.
        let Ok(place) = Arc::clone(places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.spawn(serve(stream, routes.clone(), drain.clone(), place));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(error = %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Accepts every connection in the kernel's backlog, then closes the listener. The kernel resets connections that are
/// still in the backlog when the listener closes. The listener is used without tokio, because tokio reports a new
/// connection only after the next poll of its driver.
fn accept_waiting(
    listener: TcpListener,
    routes: &Routes,
    connections: &TaskTracker,
    drain: &CancellationToken,
    places: &Arc<Semaphore>,
) -> io::Result<()> {
    let listener = listener.into_std()?;
    while let Ok(place) = Arc::clone(places).try_acquire_owned() {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                let stream = TcpStream::from_std(stream)?;
                connections.spawn(serve(stream, routes.clone(), drain.clone(), place));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Serves one connection to its end; `_place` is one of `MAX_CONNECTIONS`.
async fn serve(stream: TcpStream, routes: Routes, drain: CancellationToken, _place: OwnedSemaphorePermit) {
    let state = routes.state();
    // Each answer is written at once, so waiting to fill a packet only costs 40 ms. An error is not fatal: the client
    // may have disconnected.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(error = %error, "TCP_NODELAY");
    }
    let _open = Open::new(state);
    let header_timeout = state.config.server.header_timeout;
    // A write checks whether its client is still connected. The duplicate is dropped at the end of this function, with
    // the connection.
    let socket = stream.as_fd().try_clone_to_owned().map(Arc::new);
    let peer = socket.as_ref().ok().map(|socket| Peer::new(Arc::downgrade(socket)));
    let unread = Arc::new(AtomicBool::new(false));
    let left_unread = Arc::clone(&unread);
    let serving = routes.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        if let Some(peer) = peer.as_ref().filter(|_| !request.method().is_safe()) {
            request.extensions_mut().insert(peer.clone());
        }
        let left_unread = (!request.body().is_end_stream()).then(|| Arc::clone(&left_unread));
        middleware::handle(serving.clone(), request, left_unread)
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let last_requests = async {
        drain.cancelled().await;
        tokio::time::sleep(LAST_REQUESTS).await;
    };
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = last_requests => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            Pin::new(&mut connection).graceful_shutdown();
            (&mut connection).await
        }
    };
    let http1::Parts { io, read_buf, .. } = connection.into_parts();
    match ended {
        Ok(()) if unread.load(Ordering::Relaxed) => refusal::linger(io.into_inner()).await,
        Ok(()) => {}
        Err(error) => refusal::conclude(&routes, &error, io.into_inner(), &read_buf).await,
    }
}

/// Counts an open connection.
struct Open(prometheus::IntGauge);

impl Open {
    fn new(state: &AppState) -> Self {
        let gauge = state.metrics.connections.clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Whether an error of `accept` concerns one client only and not the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}
