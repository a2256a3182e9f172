//! A TCP proxy that can fail like a network: refuse connections, or stop passing bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::{Builder, Runtime},
    sync::watch,
    task::JoinSet,
};

use crate::servers::Servers;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// No bytes pass, and new connections are accepted without an answer. An existing connection stays dead after the
    /// network recovers, as after a lost route or a failover of an address.
    Silent,
    /// Connections are reset, including new ones.
    Refuse,
    /// Bytes pass, but HELLO is refused as an unknown command, as by a Redis without RESP3.
    WithoutHello,
}

pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Threads instead of tasks, because a test may block while it waits.
    runtime: Option<Runtime>,
    /// Keeps the server behind the proxy alive.
    _servers: Arc<Servers>,
}

impl Proxy {
    /// One in front of Postgres and one in front of Redis.
    pub fn pair() -> (Self, Self) {
        let servers = Servers::shared();
        (Self::before(&servers.database_url, &servers), Self::before(&servers.redis_url, &servers))
    }

    /// In front of the server in `url`.
    fn before(url: &str, servers: &Arc<Servers>) -> Self {
        let (_, server) = split(url);
        let server: SocketAddr = server.parse().expect("an address");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("for tokio");
        let address = listener.local_addr().expect("an address");
        let (mode, changes) = watch::channel(Mode::Pass);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(carry(client, server, changes.clone()));
            }
        });
        Self { address, mode, runtime: Some(runtime), _servers: Arc::clone(servers) }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The same URL with the proxy's address.
    pub fn in_place_of(&self, url: &str) -> String {
        let (_, server) = split(url);
        url.replacen(server, &self.address.to_string(), 1)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The parts of a URL before `host:port`, and `host:port`.
fn split(url: &str) -> (&str, &str) {
    let start = url.rfind('@').map_or_else(|| url.find("://").expect("a URL") + 3, |at| at + 1);
    let end = url[start..].find('/').map_or(url.len(), |slash| start + slash);
    (&url[..start], &url[start..end])
}

async fn carry(mut client: TcpStream, server: SocketAddr, mut mode: watch::Receiver<Mode>) {
    let first = *mode.borrow_and_update();
    if first == Mode::Pass || first == Mode::WithoutHello {
        let mut upstream = TcpStream::connect(server).await.expect("the real server is there");
        // Both ends send each message without delay, and so does the proxy.
        for stream in [&client, &upstream] {
            stream.set_nodelay(true).expect("a socket");
        }
        if first == Mode::WithoutHello {
            let mut beginning = [0; 4096];
            let read = client.read(&mut beginning).await.unwrap_or(0);
            if let Some(at) = beginning[..read].windows(5).position(|word| word == b"HELLO") {
                beginning[at..at + 5].copy_from_slice(b"OLLEH");
            }
            drop(upstream.write_all(&beginning[..read]).await);
        }
        let carried = tokio::io::copy_bidirectional(&mut client, &mut upstream);
        tokio::select! {
            _ = carried => return,
            _ = mode.changed() => {}
        }
        if *mode.borrow() == Mode::Silent {
            // Both sides receive nothing until the test ends.
            return std::future::pending().await;
        }
    }
    let last = *mode.borrow();
    match last {
        Mode::Silent => std::future::pending().await,
        // Closing with a zero linger resets the connection.
        Mode::Refuse | Mode::Pass | Mode::WithoutHello => drop(client.set_zero_linger()),
    }
}

/// The allowance for an answer on a busy machine.
pub const SCHEDULING: Duration = Duration::from_millis(150);
