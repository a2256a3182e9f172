//! Listener, names, logs, draining.

use std::{net::SocketAddr, time::Duration};

use super::reader::Reader;

/// Port 8000 on all addresses: inside a container a loopback address could not be reached from outside.
const DEFAULT_LISTEN_ADDR: ([u8; 4], u16) = ([0, 0, 0, 0], 8000);

/// The longest shutdown. It is shorter than the default grace periods of `docker stop` and Kubernetes, and is a
/// documented guarantee.
const LONGEST_WAY_OUT: Duration = Duration::from_secs(10);

/// The process itself.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The address of the listener.
    pub listen_addr: SocketAddr,
    /// The name of this replica in `X-Instance`, logs and metrics.
    pub instance: String,
    /// Number of threads that serve requests; with one, the runtime is single-threaded.
    pub worker_threads: usize,
    /// Whether each request is logged.
    pub access_log: bool,
    /// Which other events are logged, as a `tracing` filter.
    pub log: String,
    /// Time limit for a client to send its request head. An idle keep-alive connection is closed after the same time.
    pub header_timeout: Duration,
    /// Time limit for a client to send its request body.
    pub body_timeout: Duration,
    /// Limit of open connections; further ones wait in the kernel's backlog.
    pub max_connections: usize,
    /// Time between "not ready" and the end of new connections, in which load balancers stop using this replica.
    pub drain_delay: Duration,
    /// Time limit after that for requests in flight to end.
    pub drain_timeout: Duration,
    /// Whether the lab may inject a fault into this process.
    pub lab_faults: bool,
}

impl ServerConfig {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let cores = u32::try_from(cores).unwrap_or(1);
        let parse_addr = |text: &str| text.parse().map_err(|_| format!("`{text}` is not ADDRESS:PORT"));
        let config = Self {
            listen_addr: reader.value(
                "LISTEN_ADDR",
                DEFAULT_LISTEN_ADDR.into(),
                "where to listen",
                parse_addr,
                SocketAddr::to_string,
            ),
            instance: reader.value("INSTANCE_NAME", host_name(), "name of this replica", parse_instance, String::clone),
            worker_threads: reader.number("WORKER_THREADS", cores, (1, 256), "threads that serve requests") as usize,
            access_log: reader.switch("ACCESS_LOG", true, "one log line per request"),
            log: reader.value("LOG", "info".to_owned(), "log filter (tracing's syntax)", parse_filter, String::clone),
            header_timeout: reader.duration(
                "HEADER_TIMEOUT",
                Duration::from_secs(10),
                "for a client to send its request head; closes idle connections too",
            ),
            body_timeout: reader.duration(
                "BODY_TIMEOUT",
                Duration::from_secs(1),
                "for a client to send its request body",
            ),
            max_connections: reader.number("MAX_CONNECTIONS", 1_024, (1, 65_536), "open client connections") as usize,
            drain_delay: reader.duration(
                "DRAIN_DELAY",
                Duration::from_millis(500),
                "from not ready to no new connections",
            ),
            drain_timeout: reader.duration("DRAIN_TIMEOUT", Duration::from_secs(8), "for requests in flight to end"),
            lab_faults: reader.switch("LAB_FAULTS", false, "for the lab only: accept `api fault` (a leak, a crash)"),
        };
        reader.fits(
            ("DRAIN_DELAY + DRAIN_TIMEOUT", Some(config.drain_delay + config.drain_timeout)),
            ("the longest way out", Some(LONGEST_WAY_OUT)),
        );
        config
    }
}

/// The name is sent as a header value and used as a metric label, so it must be visible ASCII.
fn parse_instance(text: &str) -> Result<String, String> {
    if text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        Ok(text.to_owned())
    } else {
        Err(format!("`{text}` is not a name: up to 64 letters, digits, dots, dashes and underscores"))
    }
}

fn parse_filter(text: &str) -> Result<String, String> {
    match text.parse::<tracing_subscriber::EnvFilter>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a log filter: {error}")),
    }
}

fn host_name() -> String {
    let name = rustix::system::uname();
    let name = name.nodename().to_string_lossy().into_owned();
    if parse_instance(&name).is_ok() && !name.is_empty() { name } else { "api".to_owned() }
}
