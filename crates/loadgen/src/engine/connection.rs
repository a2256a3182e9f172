//! One connection and its request: connect, send, read the answer, reuse.
//!
//! A connection never blocks. Each call does what is possible now and returns the state of the request; the worker
//! calls again when the socket reports an event. There is one request at a time on a connection, without pipelining.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SendFlags, sockopt};

use super::failure::Failure;
use super::poller::{Poller, Ready};
use super::tls::{Connector, Session};
use crate::address::Addresses;
use crate::check::Check;
use crate::http::response::{Answer, Progress, ProtocolError, ResponseReader};
use crate::outcome::{ErrorClass, Labels};

/// The state of the request after a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// The request is not complete.
    Pending,
    Answered(Answer),
    Failed(Fault),
}

/// Why a request failed: the class to count, and the cause to show.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) class: ErrorClass,
    pub(super) cause: Cause,
    /// A reused connection was lost before the first byte of the answer. [`is_idle_race`] decides from the times
    /// whether this was the race with the server's idle time-out.
    pub(super) is_unanswered_reuse: bool,
}

/// A duration below the promised accuracy cannot be distinguished from a round trip.
const LEAST_ROUND_TRIP: Duration = Duration::from_millis(1);

/// How long a request may stay in the server's socket buffer until the server closes the connection that it considers idle;
/// the reset is sent only then. A busy machine schedules the server after one or two time slices. Seen with a reload of
/// nginx: 0.3 ms and 1.4 ms.
const SERVER_TURN: Duration = Duration::from_millis(5);

/// Whether a lost connection raced with the server's end of it: the connection had been idle for longer than a round trip,
/// and was lost within a round trip and [`SERVER_TURN`] after sending. In other cases the server may have received the
/// request, so this is a failure.
pub(super) fn is_idle_race(idle: Duration, pending: Duration, round_trip: Option<Duration>) -> bool {
    let round_trip = round_trip.unwrap_or_default().max(LEAST_ROUND_TRIP);
    idle > round_trip && pending <= round_trip + SERVER_TURN
}

#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Cause {
    #[error("{0}")]
    System(Errno),
    #[error("{0}")]
    Protocol(ProtocolError),
    #[error("{0}")]
    Tls(&'static str),
    #[error("the server closed the connection before the first byte of the answer")]
    ClosedBefore,
    #[error("the server closed the connection in the middle of the answer")]
    ClosedWithin,
    #[error("not connected within the time-out")]
    NotConnected,
    #[error("not answered within the time-out")]
    NotAnswered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No socket.
    Closed,
    Connecting,
    Sending,
    Awaiting,
    /// Open and without a request.
    Idle,
}

#[derive(Debug)]
pub(super) struct Connection<'a> {
    socket: Option<OwnedFd>,
    session: Option<Session>,
    phase: Phase,
    /// Distinguishes this socket from earlier ones in this slot, whose events may still be in the queue.
    generation: u32,
    /// The bytes of the request, kept for a retry.
    pub(super) request: Vec<u8>,
    written: usize,
    reader: ResponseReader<'a>,
    /// Whether the connection has carried an earlier request.
    is_reused: bool,
    /// Whether the first byte of the answer has arrived.
    is_answering: bool,
    opened_at: Option<Instant>,
}

/// The counters that a connection updates.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    pub(super) opened: u64,
    pub(super) closed_idle: u64,
    /// Requests that met the server's end of an idle connection and went out again on a new one.
    pub(super) resent: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
}

impl Traffic {
    /// Whether the warm-up is over.
    pub(super) fn forget_bytes(&mut self) {
        self.bytes_sent = 0;
        self.bytes_received = 0;
    }

    pub(super) fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.closed_idle += other.closed_idle;
        self.resent += other.resent;
        self.bytes_sent += other.bytes_sent;
        self.bytes_received += other.bytes_received;
    }
}

/// State that all connections of a worker share.
pub(super) struct Shared {
    pub(super) poller: Poller,
    pub(super) addresses: Addresses,
    /// Creates TLS sessions, if TLS is used.
    pub(super) tls: Option<Connector>,
    /// The shortest time in which a connection was opened.
    pub(super) round_trip: Option<Duration>,
    /// The read buffer of all connections. It never holds data between calls: answers are read to their end or stored
    /// by their parser.
    pub(super) buffer: Box<[u8]>,
    pub(super) traffic: Traffic,
}

impl<'a> Connection<'a> {
    pub(super) fn new() -> Self {
        Self {
            socket: None,
            session: None,
            phase: Phase::Closed,
            generation: 0,
            request: Vec::new(),
            written: 0,
            reader: ResponseReader::new(),
            is_reused: false,
            is_answering: false,
            opened_at: None,
        }
    }

    pub(super) fn generation(&self) -> u32 {
        self.generation
    }

    /// Sends the bytes in `request`, over the open connection or a new one.
    pub(super) fn begin(
        &mut self,
        slot: u32,
        (is_head, checks): (bool, &'a [Check]),
        shared: &mut Shared,
        labels: &mut Labels,
    ) -> Step {
        self.reader.begin(is_head, checks);
        self.written = 0;
        self.is_answering = false;
        self.is_reused = self.phase == Phase::Idle;
        if self.is_reused {
            self.phase = Phase::Sending;
            return self.send(shared, labels);
        }
        match self.open(slot, shared) {
            Ok(()) => Step::Pending,
            Err(Failure::System(errno)) => self.fail(connect_class(errno), Cause::System(errno)),
            Err(Failure::Tls(why)) => self.fail(ErrorClass::ConnectFailed, Cause::Tls(why)),
        }
    }

    /// The socket has reported an event. Events are edge-triggered, so all available data is read here.
    pub(super) fn on_ready(&mut self, ready: Ready, shared: &mut Shared, labels: &mut Labels) -> Step {
        if self.phase == Phase::Connecting {
            match self.socket.as_ref().map(sockopt::socket_error) {
                Some(Ok(Ok(()))) => {
                    self.phase = Phase::Sending;
                    let took = self.opened_at.map(|at| at.elapsed());
                    shared.round_trip = shared.round_trip.into_iter().chain(took).min();
                }
                Some(Ok(Err(errno)) | Err(errno)) => return self.fail(connect_class(errno), Cause::System(errno)),
                None => return Step::Pending,
            }
        }
        if let (Some(session), Some(socket)) = (&mut self.session, &self.socket)
            && session.flush(socket).is_err()
            && self.phase != Phase::Idle
        {
            // If the server sent an answer before it closed, the answer counts.
            return self.receive(true, shared, labels);
        }
        if self.phase == Phase::Sending
            && let done @ (Step::Answered(_) | Step::Failed(_)) = self.send(shared, labels)
        {
            return done;
        }
        match self.phase {
            // This also runs while sending: a server may answer, or close, before it has the whole request.
            Phase::Sending | Phase::Awaiting if ready.readable => self.receive(ready.hung_up, shared, labels),
            // Closed by the server, or unexpected data: the connection cannot be reused.
            Phase::Idle if ready.readable => {
                shared.traffic.closed_idle += 1;
                self.close();
                Step::Pending
            }
            Phase::Closed | Phase::Connecting | Phase::Sending | Phase::Awaiting | Phase::Idle => Step::Pending,
        }
    }

    /// The request has timed out.
    pub(super) fn time_out(&mut self) -> Fault {
        let connecting = self.phase == Phase::Connecting;
        self.close();
        if connecting {
            Fault { class: ErrorClass::ConnectTimeout, cause: Cause::NotConnected, is_unanswered_reuse: false }
        } else {
            Fault { class: ErrorClass::Timeout, cause: Cause::NotAnswered, is_unanswered_reuse: false }
        }
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
        self.session = None;
        self.phase = Phase::Closed;
        self.generation = self.generation.wrapping_add(1);
    }

    fn open(&mut self, slot: u32, shared: &mut Shared) -> Result<(), Failure> {
        let opened_at = Instant::now();
        let socket = shared.addresses.next().connect().map_err(Failure::System)?;
        let session = shared.tls.as_ref().map(Connector::session).transpose()?;
        self.generation = self.generation.wrapping_add(1);
        shared.poller.add(&socket, u64::from(self.generation) << 32 | u64::from(slot)).map_err(Failure::System)?;
        shared.traffic.opened += 1;
        self.socket = Some(socket);
        self.session = session;
        self.opened_at = Some(opened_at);
        self.phase = Phase::Connecting;
        Ok(())
    }

    fn send(&mut self, shared: &mut Shared, labels: &mut Labels) -> Step {
        let Some(socket) = &self.socket else {
            return Step::Pending;
        };
        while self.written < self.request.len() {
            let bytes = &self.request[self.written..];
            let sent = match &mut self.session {
                None => rustix::net::send(socket, bytes, SendFlags::NOSIGNAL).map_err(Failure::System),
                Some(session) => session.send(socket, bytes),
            };
            match sent {
                Ok(sent) => {
                    self.written += sent;
                    shared.traffic.bytes_sent += sent as u64;
                }
                Err(Failure::System(Errno::AGAIN)) => return Step::Pending,
                Err(Failure::System(Errno::INTR)) => {}
                // The server may have sent an answer before it closed; then the answer counts.
                Err(_) => return self.receive(true, shared, labels),
            }
        }
        self.phase = Phase::Awaiting;
        Step::Pending
    }

    fn receive(&mut self, hung_up: bool, shared: &mut Shared, labels: &mut Labels) -> Step {
        let Some(socket) = &self.socket else {
            return Step::Pending;
        };
        let mut answered = None;
        loop {
            let read = match &mut self.session {
                None => rustix::io::read(socket, &mut *shared.buffer).map_err(Failure::System),
                Some(session) => session.read(socket, &mut shared.buffer),
            };
            let got = match read {
                Ok(0) => {
                    let answer = answered.or_else(|| self.reader.finish(labels));
                    return match answer {
                        Some(answer) => self.answer(Answer { keep_alive: false, ..answer }),
                        None => self.lost(ErrorClass::Closed, self.closed_cause()),
                    };
                }
                Ok(got) => got,
                Err(Failure::System(Errno::AGAIN)) => {
                    return answered.map_or(Step::Pending, |answer| self.answer(answer));
                }
                Err(Failure::System(Errno::INTR)) => continue,
                Err(failure) => {
                    return match (answered, failure) {
                        (Some(answer), _) => self.answer(Answer { keep_alive: false, ..answer }),
                        (None, Failure::System(errno)) => self.lost(ErrorClass::Reset, Cause::System(errno)),
                        (None, Failure::Tls(why)) => self.fail(self.tls_class(), Cause::Tls(why)),
                    };
                }
            };
            self.is_answering = true;
            shared.traffic.bytes_received += got as u64;
            match self.reader.feed(&shared.buffer[..got], labels) {
                Ok(Progress::More) => {}
                Ok(Progress::Done(answer)) => answered = Some(answer),
                Err(error) => return self.fail(ErrorClass::Protocol, Cause::Protocol(error)),
            }
            // A short read has emptied the socket. There is more to read only after a full buffer, a close, or with
            // TLS.
            if got < shared.buffer.len() && !hung_up && self.session.is_none() {
                return answered.map_or(Step::Pending, |answer| self.answer(answer));
            }
        }
    }

    fn answer(&mut self, answer: Answer) -> Step {
        // An answer that arrives before the whole request was sent leaves the connection in the middle of the request.
        if answer.keep_alive && self.phase == Phase::Awaiting {
            self.phase = Phase::Idle;
        } else {
            self.close();
        }
        Step::Answered(answer)
    }

    /// No request was sent over a session whose handshake failed.
    fn tls_class(&self) -> ErrorClass {
        let is_handshaking = self.session.as_ref().is_some_and(Session::is_handshaking);
        if is_handshaking { ErrorClass::ConnectFailed } else { ErrorClass::Protocol }
    }

    fn closed_cause(&self) -> Cause {
        if self.is_answering { Cause::ClosedWithin } else { Cause::ClosedBefore }
    }

    /// The connection is lost.
    fn lost(&mut self, class: ErrorClass, cause: Cause) -> Step {
        let is_unanswered_reuse = self.is_reused && !self.is_answering;
        self.close();
        Step::Failed(Fault { class, cause, is_unanswered_reuse })
    }

    fn fail(&mut self, class: ErrorClass, cause: Cause) -> Step {
        self.close();
        Step::Failed(Fault { class, cause, is_unanswered_reuse: false })
    }
}

fn connect_class(errno: Errno) -> ErrorClass {
    match errno {
        // A Unix socket whose file does not exist, or whose backlog is full.
        Errno::CONNREFUSED | Errno::CONNRESET | Errno::NOENT | Errno::AGAIN => ErrorClass::ConnectRefused,
        Errno::TIMEDOUT => ErrorClass::ConnectTimeout,
        Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::NOSPC => {
            ErrorClass::Local
        }
        _ => ErrorClass::ConnectFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_race_needs_an_idle_connection_and_a_loss_within_a_round_trip() {
        let ms = Duration::from_millis;
        for (idle, pending, round_trip, is_race) in [
            (ms(500), Duration::from_micros(80), Some(Duration::from_micros(60)), true),
            (ms(500), ms(20), Some(Duration::from_micros(60)), false),
            (ms(500), ms(20), Some(ms(30)), true),
            (ms(500), ms(40), Some(ms(30)), false),
            (ms(500), ms(4), Some(Duration::from_micros(60)), true),
            (Duration::from_micros(20), Duration::from_micros(80), Some(Duration::from_micros(60)), false),
            (ms(10), Duration::from_micros(80), Some(ms(30)), false),
            (ms(500), Duration::from_micros(80), None, true),
        ] {
            assert_eq!(is_idle_race(idle, pending, round_trip), is_race, "{idle:?} {pending:?} {round_trip:?}");
        }
    }
}
