//! A small TCP proxy between replicas and a dependency that simulates a bad network: latency, low bandwidth, resets,
//! half-open connections. (The kernel can do that only with a module that many machines do not have.)
//!
//! # One connection, in the order of time
//! ## Accepted
//! The proxy connects to the dependency at once; if the dependency refuses, the client's connection is reset.
//! ## Passing
//! Each direction has two tasks: one reads and records when each piece is due, the other waits for that time and for
//! the bandwidth, and writes. Pieces never overtake each other. The queue between the tasks is bounded, so that a low
//! bandwidth slows down the sender, as on a real network.
//! ## Reset, half-open
//! A reset closes every connection at once. Half-open connections transmit nothing; when the fault ends they are reset,
//! because their peer no longer knows them.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

/// The most bytes in one read.
const PIECE: usize = 16 * 1024;
/// The most pieces queued in one direction; one megabyte, as much as a socket buffers.
const QUEUE: usize = 64;

/// How connections are forwarded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shape {
    /// Added to each answer of the dependency.
    pub latency_us: u64,
    /// The latency varies by up to this much.
    pub jitter_us: u64,
    /// Bytes per second in each direction; `None`: no limit.
    pub bandwidth: Option<u64>,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    #[default]
    Pass,
    Reset,
    HalfOpen,
}

impl Shape {
    /// The delay of a piece; `chance` is between 0 and 1.
    fn delay(&self, chance: f64) -> Duration {
        let jitter = self.jitter_us as f64 * (2.0 * chance - 1.0);
        Duration::from_micros((self.latency_us as f64 + jitter).max(0.0) as u64)
    }

    /// The transmission time of this many bytes.
    fn transmission(&self, bytes: usize) -> Duration {
        self.bandwidth.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(bytes as f64 / rate.max(1) as f64))
    }
}

/// Runs until it is killed.
pub(crate) fn run(listen: SocketAddr, upstream: SocketAddr, shape: &Path) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(listen, upstream, shape.to_owned()))
}

async fn serve(listen: SocketAddr, upstream: SocketAddr, file: PathBuf) -> io::Result<()> {
    let listener = TcpListener::bind(listen).await?;
    let (changes, shape) = watch::channel(read(&file)?);
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            Some(()) = hang_up.recv() => {
                // A file that cannot be read changes nothing.
                if let Ok(shape) = read(&file) {
                    changes.send_replace(shape);
                }
            }
            accepted = listener.accept() => {
                // Out of file descriptors: retry, because other connections will end.
                let Ok((client, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                tokio::spawn(pass(client, upstream, shape.clone()));
            }
        }
    }
}

fn read(file: &Path) -> io::Result<Shape> {
    serde_json::from_str(&fs::read_to_string(file)?).map_err(io::Error::from)
}

async fn pass(client: TcpStream, upstream: SocketAddr, mut shape: watch::Receiver<Shape>) {
    let client_socket = SockRef::from(&client).try_clone();
    let reset = || {
        // With a linger time of zero, closing sends a reset.
        if let Ok(socket) = &client_socket {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    };
    if shape.borrow_and_update().mode == Mode::Reset {
        return reset();
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return reset() };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    // Halves that do not shut down the connection when they are dropped: a reset must not be preceded by a FIN.
    let (from_client, to_client) = split(client);
    let (from_server, to_server) = split(server);
    let there = tokio::spawn(direction(from_client, to_server, shape.clone(), false));
    let back = tokio::spawn(direction(from_server, to_client, shape.clone(), true));
    let (stop_there, stop_back) = (there.abort_handle(), back.abort_handle());
    let was_half_open = async {
        let mut was = false;
        loop {
            let mode = shape.borrow_and_update().mode;
            was |= mode == Mode::HalfOpen;
            let is_over = mode == Mode::Reset || was && mode == Mode::Pass;
            if is_over || shape.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = was_half_open => {
            reset();
            stop_there.abort();
            stop_back.abort();
        }
        // Each direction ends separately, so that a half-closed connection stays half-closed.
        _ = async { tokio::join!(there, back) } => {}
    }
}

async fn direction<R, W>(mut from: R, mut to: W, shape: watch::Receiver<Shape>, is_answer: bool)
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin,
{
    let (sender, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(QUEUE);
    let mut reading_shape = shape.clone();
    let reader = async move {
        let mut piece = vec![0; PIECE];
        let mut last = Instant::now();
        loop {
            let length = match from.read(&mut piece).await {
                Ok(0) | Err(_) => return,
                Ok(length) => length,
            };
            // Nothing is transmitted while the connection is half-open; it is reset when that ends.
            if reading_shape.wait_for(|shape| shape.mode == Mode::Pass).await.is_err() {
                return;
            }
            let delay = if is_answer { reading_shape.borrow().delay(fastrand::f32().into()) } else { Duration::ZERO };
            last = last.max(Instant::now() + delay);
            if sender.send((last, piece[..length].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writer = async {
        let mut free_at = Instant::now();
        while let Some((at, piece)) = due.recv().await {
            let time = shape.borrow().transmission(piece.len());
            free_at = free_at.max(at).max(Instant::now()) + time;
            // Even a time that has passed would cost a tick of the timer, which is a millisecond.
            if free_at > Instant::now() {
                sleep_until(free_at).await;
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reader, writer);
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// A proxy in front of an echo server; returns its address and the sender of its shape.
    fn proxy() -> (SocketAddr, watch::Sender<Shape>) {
        let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let upstream = echo.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in echo.incoming().flatten() {
                std::thread::spawn(move || io::copy(&mut stream.try_clone().unwrap(), &mut &stream));
            }
        });
        let (sender, receiver) = watch::channel(Shape::default());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(pass(client, upstream, receiver.clone()));
                }
            });
        });
        (address, sender)
    }

    fn connect(address: SocketAddr) -> std::net::TcpStream {
        let stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    fn exchange(stream: &mut std::net::TcpStream, bytes: usize) -> io::Result<Duration> {
        let start = std::time::Instant::now();
        stream.write_all(&vec![7; bytes])?;
        stream.read_exact(&mut vec![0; bytes])?;
        Ok(start.elapsed())
    }

    #[test]
    fn an_open_connection_becomes_slow_and_normal_again() {
        let (address, shape) = proxy();
        let mut stream = connect(address);
        assert!(exchange(&mut stream, 10).unwrap() < Duration::from_millis(80));
        shape.send_replace(Shape { latency_us: 100_000, jitter_us: 20_000, ..Shape::default() });
        let took = exchange(&mut stream, 10).unwrap();
        assert!(took >= Duration::from_millis(80) && took < Duration::from_millis(400), "{took:?}");
        // 20,000 bytes at 100,000 per second, there and back, one after the other where pieces are small.
        shape.send_replace(Shape { bandwidth: Some(100_000), ..Shape::default() });
        let took = exchange(&mut stream, 20_000).unwrap();
        assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(1000), "{took:?}");
        shape.send_replace(Shape::default());
        assert!(exchange(&mut stream, 10).unwrap() < Duration::from_millis(80));
    }

    #[test]
    fn a_half_open_connection_is_silent_and_then_reset() {
        let (address, shape) = proxy();
        let mut stream = connect(address);
        exchange(&mut stream, 1).unwrap();
        shape.send_replace(Shape { mode: Mode::HalfOpen, ..Shape::default() });
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        assert_eq!(exchange(&mut stream, 1).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        shape.send_replace(Shape::default());
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        exchange(&mut connect(address), 1).unwrap();
    }

    #[test]
    fn a_reset_ends_open_connections_and_new_ones() {
        let (address, shape) = proxy();
        let mut open = connect(address);
        exchange(&mut open, 1).unwrap();
        shape.send_replace(Shape { mode: Mode::Reset, ..Shape::default() });
        for stream in [&mut open, &mut connect(address)] {
            assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    }
}
