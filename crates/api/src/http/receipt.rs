//! The receipt of a write: when it was received, and whether its client is still connected. No write runs after its
//! time limit.
//!
//! A proxy that gives up on a replica sends an idempotent request to another one. If the first replica was only paused,
//! it resumes with its copy of the request in the socket, followed by the end of the connection. By then a newer write
//! of another client may have been acknowledged. So each write has a [`Receipt`], which abandons it in two cases:
//!
//! - The client has closed the connection (`POLLRDHUP`), so it does not wait for the answer.
//! - The time limit has passed: the write must take effect before the proxy may send it to another replica. nginx sends
//!   the time at which it sent this copy (`X-Request-Start: t=<seconds since 1970, with milliseconds>`), and
//!   [`WriteWindow`] is the time it waits. The time limit is part of the statement and compared with Postgres' clock, so
//!   that it holds whatever is delayed before: the replica, the connection or a lock.
//!
//! The clocks of nginx, the replica and Postgres must agree within the allowance that `WRITE_WINDOW` leaves below
//! nginx' read time-out. A header with a time in the future is ignored.

use std::{os::fd::OwnedFd, sync::Weak, time::Duration};

use axum::http::{HeaderMap, HeaderName};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use time::OffsetDateTime;

const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");

/// A time further in the future than this is ignored: it comes from a wrong clock or from a client.
const CLOCK_ALLOWANCE: Duration = Duration::from_millis(100);

/// The client's side of a connection. Holds nothing after the connection was closed on this side.
#[derive(Debug, Clone)]
pub struct Peer(Weak<OwnedFd>);

impl Peer {
    /// The client's side of the connection that `socket` is a duplicate of.
    pub fn new(socket: Weak<OwnedFd>) -> Self {
        Self(socket)
    }

    /// Whether the client has closed the connection or its sending side. A client that waits for an answer does
    /// neither.
    pub fn has_closed(&self) -> bool {
        let Some(socket) = self.0.upgrade() else { return true };
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let mut asked = [PollFd::new(&*socket, PollFlags::RDHUP)];
        match poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(_) => asked[0].revents().intersects(ended),
            // Interrupted: the state is unknown.
            Err(_) => false,
        }
    }
}

/// How long after its receipt a write may take effect; `None`: without limit.
#[derive(Debug, Clone, Copy)]
pub struct WriteWindow {
    /// Counted from the time at which the proxy sent the request.
    pub from_proxy: Option<Duration>,
    /// Counted from the time at which the request was read.
    pub from_now: Option<Duration>,
}

/// See the module's documentation.
#[derive(Debug, Clone)]
pub struct Receipt {
    peer: Option<Peer>,
    /// The last moment at which it may take effect.
    pub not_after: Option<OffsetDateTime>,
}

/// The write is abandoned: its client has disconnected, or its time limit has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// The client has closed the connection.
    ClientGone,
    /// The time limit has passed.
    TooLate,
}

impl Receipt {
    /// The receipt of a request that was read at `now`.
    pub(crate) fn new(headers: &HeaderMap, peer: Option<Peer>, now: OffsetDateTime, window: WriteWindow) -> Self {
        let by_proxy = sent_at(headers).filter(|sent| *sent <= now + CLOCK_ALLOWANCE);
        let ends = [by_proxy.zip(window.from_proxy), window.from_now.map(|window| (now, window))];
        let not_after = ends.into_iter().flatten().map(|(from, window)| from + window).min();
        Self { peer, not_after }
    }

    /// Whether the client has closed its connection. The time limit is checked by the statement alone.
    pub(crate) fn is_client_gone(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::has_closed)
    }
}

/// The time at which the proxy sent the request, from a single `X-Request-Start`.
pub(crate) fn sent_at(headers: &HeaderMap) -> Option<OffsetDateTime> {
    let mut given = headers.get_all(X_REQUEST_START).iter();
    let (Some(text), None) = (given.next(), given.next()) else { return None };
    parse(text.to_str().ok()?)
}

/// `t=1790000000.123`: seconds with up to nine decimals.
fn parse(text: &str) -> Option<OffsetDateTime> {
    let (seconds, decimals) = text.strip_prefix("t=")?.split_once('.')?;
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(seconds) || !all_digits(decimals) || decimals.len() > 9 {
        return None;
    }
    let nanoseconds: u32 = format!("{decimals:0<9}").parse().ok()?;
    OffsetDateTime::from_unix_timestamp(seconds.parse().ok()?).ok()?.replace_nanosecond(nanoseconds).ok()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use std::{
        net::{TcpListener, TcpStream},
        os::fd::AsFd,
        sync::Arc,
    };

    use axum::http::HeaderValue;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05.678 UTC);
    const WINDOW: WriteWindow =
        WriteWindow { from_proxy: Some(Duration::from_millis(800)), from_now: Some(Duration::from_millis(300)) };

    fn receipt(value: &str, window: WriteWindow) -> Receipt {
        let mut headers = HeaderMap::new();
        headers.insert(X_REQUEST_START, HeaderValue::from_str(value).expect("a header value"));
        Receipt::new(&headers, None, NOW, window)
    }

    #[test]
    fn it_ends_with_the_earlier_of_the_proxys_patience_and_the_requests_own_time() {
        let start = NOW.unix_timestamp();
        let just_sent = receipt(&format!("t={start}.678"), WINDOW);
        assert_eq!(just_sent.not_after, Some(NOW + Duration::from_millis(300)));
        let sent_long_ago = receipt(&format!("t={start}.078"), WINDOW);
        assert_eq!(sent_long_ago.not_after, Some(NOW + Duration::from_millis(200)));
    }

    #[test]
    fn what_is_no_time_or_lies_in_the_future_counts_as_none() {
        let ahead = format!("t={}.000", NOW.unix_timestamp() + 60);
        for odd in
            ["", "t=", "t=1", "1790000000.123", "t=-1.0", "t=1.0000000001", "t=1.x", "t=99999999999999999999.0", &ahead]
        {
            assert_eq!(receipt(odd, WINDOW).not_after, Some(NOW + Duration::from_millis(300)), "{odd}");
        }
        let off = WriteWindow { from_proxy: None, from_now: None };
        assert_eq!(receipt("t=1.0", off).not_after, None, "without time-outs nothing is late");
    }

    #[test]
    fn a_client_that_hung_up_is_seen_even_behind_unread_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
        let (server, _) = listener.accept().expect("accepted");
        let socket = Arc::new(server.as_fd().try_clone_to_owned().expect("a duplicate"));
        let peer = Peer::new(Arc::downgrade(&socket));
        assert!(!peer.has_closed());
        std::io::Write::write_all(&mut &client, b"unread").expect("sent");
        drop(client);
        let give_up = std::time::Instant::now() + Duration::from_secs(10);
        while !peer.has_closed() {
            assert!(std::time::Instant::now() < give_up, "the end of the connection is never seen");
            std::thread::yield_now();
        }
        drop(socket);
        assert!(peer.has_closed(), "a connection that has ended here has nobody at its other side");
    }
}
