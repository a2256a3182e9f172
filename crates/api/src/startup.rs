//! The start, from top to bottom: logs, configuration, dependencies, listener. Also the other commands of the binary.

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::ExitCode,
    sync::atomic::AtomicBool,
    time::Duration,
};

use axum::http::HeaderValue;
use resilience::{rate_limit::RateLimit, waiting::Waiting};
use sqlx::{ConnectOptions, Connection, migrate::Migrator};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cache::{pages::PageCache, records::RecordCache},
    config::Config,
    dependencies::{
        postgres::{Postgres, connect_options},
        pulse::Pulse,
        redis::Redis,
    },
    lab_faults::{self, LabFault},
    metrics::{Metrics, requests::RequestMetrics},
    middleware::access_log::AccessLog,
    records::{reads::Reads, writes::Writes},
    routes::{Routes, admission::Admission},
    server,
    state::{AppState, Parts},
    telemetry,
};

type Failure = Box<dyn Error>;

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Name look-ups run on these threads and cannot be cancelled. The small number bounds the cost of a name server that
/// hangs.
const BLOCKING_THREADS: usize = 8;

/// `api migrate` may start together with Postgres, so it waits this long for it.
const MIGRATE_WAIT: Duration = Duration::from_secs(30);

/// `api healthcheck`: a replica that takes longer to answer `/readyz` counts as not ready.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for writes whose client connections were closed: the time-outs of one statement and of Redis.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// `api serve`.
pub fn serve(config: Config) -> ExitCode {
    telemetry::start(&config.server.log);
    let threads = config.server.worker_threads;
    run(threads, serve_until_signal(config))
}

async fn serve_until_signal(config: Config) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let interval = config.limits.probe_interval;
    let state = assemble(config)?;
    let background = TaskTracker::new();
    let stop_background = CancellationToken::new();
    let repaired = state.records.clone();
    let repair = async move || repaired.repair_missed().await;
    background.spawn(state.redis.clone().maintain(interval, stop_background.clone(), repair));
    background.spawn(state.records.clone().keep_near(stop_background.clone()));
    background.spawn(state.postgres.clone().probe(interval, stop_background.clone()));
    let (pulse, stop_pulse) = (state.clone(), stop_background.clone());
    background.spawn(async move { stop_pulse.run_until_cancelled(pulse.pulse.beat()).await });

    let config = &state.config;
    if config.server.lab_faults {
        let lab = lab_faults::listen().map_err(|error| format!("cannot listen for faults of the lab: {error}"))?;
        background.spawn(lab_faults::serve(lab, lab_faults::Leak::default(), stop_background.clone()));
        tracing::warn!("LAB_FAULTS is on: the lab may crash this process");
    }
    background.close();
    let listener = TcpListener::bind(config.server.listen_addr)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.server.listen_addr))?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        instance = state.instance(),
        address = %listener.local_addr()?,
        "ready"
    );

    let shutdown = CancellationToken::new();
    let server = server::run(listener, Routes::new(state.clone()), shutdown.clone());
    let shutdown_signals = async {
        let signal = signals.next().await;
        tracing::info!(signal, "shutting down");
        shutdown.cancel();
        signals.next().await
    };
    tokio::pin!(server, shutdown_signals);
    let second_signal = tokio::select! {
        _cut = &mut server => None,
        signal = &mut shutdown_signals => Some(signal),
    };
    if let Some(signal) = second_signal {
        tracing::warn!(signal, "second signal: ending at once");
        std::process::exit(1);
    }
    // A write whose client connection was closed still has to finish and update the cache.
    if tokio::time::timeout(FINISH_TIMEOUT, state.writes.finish()).await.is_err() {
        tracing::warn!("writes under way were cut");
    }
    stop_background.cancel();
    background.wait().await;
    state.redis.close();
    state.postgres.close();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Builds everything that requests need, in the order of the dependencies between the parts. Nothing here connects.
fn assemble(config: Config) -> Result<AppState, Failure> {
    let metrics = Metrics::new()?;
    let instance = &config.server.instance;
    metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION"), instance.as_str()]).set(1.0);
    let access_log =
        config.server.access_log.then(|| AccessLog::start(metrics.log_lines_dropped.clone())).transpose()?;
    let redis = Redis::new(&config.redis, &config.limits, instance, &metrics)?;
    let postgres = Postgres::new(&config.database, &config.limits, config.redis.retry_budget, instance, &metrics)?;
    let records = RecordCache::new(redis.clone(), &config.cache, config.redis.timeout, &metrics);
    let pages = PageCache::new(redis.clone(), &config.cache, &metrics);
    let reads =
        Reads::new(records.clone(), pages, postgres.clone(), &config.cache, config.limits.request_timeout, &metrics);
    let writes = Writes::new(records.clone(), postgres.clone(), &config.cache);
    // The burst is a tenth of a second of requests, which is enough for the jitter of arrivals.
    let rate_limit = config.limits.max_rps.map(|rps| RateLimit::new(rps, rps.div_ceil(10), Instant::now()));
    Ok(AppState::new(Parts {
        instance_header: HeaderValue::try_from(instance.as_str())?,
        request_metrics: RequestMetrics::new(metrics.clone()),
        admission: config.limits.concurrency.map(Admission::new),
        waiting: Waiting::new(Instant::now()),
        pulse: Pulse::default(),
        rate_limit,
        draining: AtomicBool::new(false),
        access_log,
        metrics,
        redis,
        postgres,
        records,
        reads,
        writes,
        config,
    }))
}

/// `api migrate`. sqlx holds an advisory lock, so several may run at the same time.
pub fn migrate(config: &Config) -> ExitCode {
    telemetry::start(&config.server.log);
    run(1, async {
        let options = connect_options(&config.database, "api-migrate")?;
        let give_up = Instant::now() + MIGRATE_WAIT;
        let mut connection = loop {
            match options.connect().await {
                Ok(connection) => break connection,
                Err(error) if Instant::now() >= give_up => {
                    return Err(format!("Postgres did not answer for {} s: {error}", MIGRATE_WAIT.as_secs()).into());
                }
                Err(error) => tracing::info!(error = %error, "waiting for Postgres"),
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        };
        MIGRATIONS.run(&mut connection).await?;
        connection.close().await?;
        tracing::info!("the database is up to date");
        Ok(ExitCode::SUCCESS)
    })
}

/// `api healthcheck`. Sends one request to the replica on this machine, without a client library.
pub fn healthcheck(config: &Config) -> ExitCode {
    let address = on_this_machine(config.server.listen_addr);
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(1_024).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    run(1, async {
        let answer = tokio::time::timeout(HEALTHCHECK_TIMEOUT, ask).await.map_err(|_| "no answer in time")??;
        let status =
            String::from_utf8_lossy(answer.split(|byte| *byte == b'\r').next().unwrap_or_default()).into_owned();
        if status.split(' ').nth(1) == Some("200") { Ok(ExitCode::SUCCESS) } else { Err(status.into()) }
    })
}

/// `api fault`. Sends one command to a replica on this machine and prints its answer.
pub fn fault(pid: u32, fault: LabFault) -> ExitCode {
    match lab_faults::send(pid, fault) {
        Ok(done) if done.is_empty() => ExitCode::SUCCESS,
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("api: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The address at which a listener can be reached from its own machine.
fn on_this_machine(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// Runs a command on a runtime of `threads` threads. A failure is one line on standard error and exit code 1.
fn run(threads: usize, verb: impl Future<Output = Result<ExitCode, Failure>>) -> ExitCode {
    let ended = runtime(threads).map_err(Failure::from).and_then(|runtime| {
        let ended = runtime.block_on(verb);
        // Name look-ups that hang must not keep the process alive.
        runtime.shutdown_background();
        ended
    });
    ended.unwrap_or_else(|error| {
        eprintln!("api: {error}");
        ExitCode::FAILURE
    })
}

/// With one thread a single-threaded runtime serves more requests, because it needs no scheduling between threads.
fn runtime(threads: usize) -> std::io::Result<Runtime> {
    let mut builder = match threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(threads).max_blocking_threads(BLOCKING_THREADS).enable_all().build()
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
