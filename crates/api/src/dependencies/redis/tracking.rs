//! The connection over which Redis reports changed keys (`CLIENT TRACKING`, pushes of RESP3).
//!
//! # In the order of time
//! ## Connect
//! A separate connection is used, on which pushes and replies arrive in one order. `BCAST` reports every change of a
//! key with the prefix. The default mode reports only keys that this connection has read with a read command, and
//! `GETEX` is not a read command.
//! ## Listen
//! A change is passed to the [`ChangeListener`] as soon as it is read from the socket.
//! ## Heartbeat
//! A command is sent each [`INTERVAL`]. Redis queues the reports of one turn of its event loop before it writes any
//! reply of that turn. A command that is sent after a write was answered belongs to a later turn, so its reply comes
//! after the report. When the command is answered, the changes of every write that was answered before the command was
//! *sent* have been passed on.
//! Redis refuses the command whenever it refuses writes, and delays it whenever it delays writes. During that time the
//! heartbeat fails, because changes may be missing in Redis.
//! ## Lost
//! The connection ended, or a heartbeat was not answered within [`PROBE_TIMEOUT`]. The task reconnects until it
//! succeeds.
//! ## Not possible
//! Redis does not speak RESP3, or does not know or allow the command. This is logged once, and tried again after a
//! while.

use std::time::Duration;

use deadpool_redis::redis::{
    AsyncConnectionConfig, Client, Cmd, ErrorKind, ProtocolVersion, PushInfo, PushKind, RedisError, Value,
    aio::{MultiplexedConnection, SendError},
};
use tokio::time::Instant;

use super::{
    connection::connection_info,
    judge::{Signal, signal},
};
use crate::{
    config::RedisConfig,
    dependencies::{guard::within, knowledge::PROBE_TIMEOUT},
};

/// Interval of heartbeats. Three in a row may be late before the near cache's lease ends.
const INTERVAL: Duration = Duration::from_millis(25);

/// Wait between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(250);

/// Wait between two attempts while Redis cannot report changes. It may be upgraded or get the permission in the
/// meantime.
const PAUSE_WHEN_NOT_POSSIBLE: Duration = Duration::from_secs(10);

/// Receives the reports of Redis in the order of Redis. No method may block.
pub trait ChangeListener: Send + Sync + 'static {
    /// Changes are reported from now on, and none was reported before.
    fn connected(&self);
    /// This key has changed.
    fn changed(&self, key: &[u8]);
    /// Every key has changed.
    fn flushed(&self);
    /// The changes of every write that was answered before `sent` have been reported.
    fn heard(&self, sent: Instant);
    /// Changes are no longer reported.
    fn lost(&self);
}

/// See the [module documentation](self).
#[derive(Debug)]
pub(super) struct Tracking {
    client: Client,
}

/// Why a connection ended.
enum Ended {
    /// It broke, or did not answer.
    Lost(Signal),
    /// Redis cannot report changes.
    NotPossible(RedisError),
}

impl Tracking {
    /// Creates the handle without connecting.
    pub(super) fn new(config: &RedisConfig) -> Result<Self, RedisError> {
        let info = connection_info(config)?;
        let settings = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        Ok(Self { client: Client::open(info.set_redis_settings(settings))? })
    }

    /// Passes reports to `listener` and never returns. `notice` gets the signal of each failed heartbeat.
    pub(super) async fn run(
        &self,
        prefix: &str,
        heartbeat: &Cmd,
        listener: &(impl ChangeListener + Clone),
        notice: impl Fn(Signal),
    ) {
        let mut is_told = false;
        loop {
            let ended = match self.connect(prefix, listener.clone()).await {
                Ok(connection) => {
                    listener.connected();
                    tracing::info!("the near cache listens to Redis");
                    is_told = false;
                    let signal = listen(connection, heartbeat, listener, &notice).await;
                    listener.lost();
                    tracing::info!(signal = <&str>::from(signal), "the near cache lost Redis");
                    Ended::Lost(signal)
                }
                Err(ended) => ended,
            };
            let pause = match ended {
                Ended::Lost(signal) => {
                    notice(signal);
                    PAUSE
                }
                Ended::NotPossible(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::warn!(
                            error = %error,
                            "the near cache is off: Redis does not report changes (RESP3, CLIENT TRACKING)"
                        );
                    }
                    PAUSE_WHEN_NOT_POSSIBLE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn connect(&self, prefix: &str, listener: impl ChangeListener) -> Result<MultiplexedConnection, Ended> {
        let report = move |push: PushInfo| -> Result<(), SendError> {
            hand_on(&push, &listener);
            Ok(())
        };
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_connection_timeout(Some(PROBE_TIMEOUT))
            .set_push_sender(report);
        let mut track = Cmd::new();
        track.arg("CLIENT").arg("TRACKING").arg("ON").arg("BCAST").arg("PREFIX").arg(prefix);
        let connected = within(Some(PROBE_TIMEOUT), async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            track.query_async::<Value>(&mut connection).await?;
            Ok(connection)
        });
        connected.await.ok_or(Ended::Lost(Signal::Silent))?.map_err(|error: RedisError| match signal(&error) {
            // NOPERM, an unknown command or option, or a refused HELLO.
            Signal::RefusesWrites | Signal::OwnDefect => Ended::NotPossible(error),
            _ if error.kind() == ErrorKind::RESP3NotSupported => Ended::NotPossible(error),
            signal => Ended::Lost(signal),
        })
    }
}

/// Sends heartbeats until the connection is lost, and returns why.
async fn listen(
    mut connection: MultiplexedConnection,
    heartbeat: &Cmd,
    listener: &impl ChangeListener,
    notice: &impl Fn(Signal),
) -> Signal {
    loop {
        let sent = Instant::now();
        let answered = within(Some(PROBE_TIMEOUT), heartbeat.query_async::<Value>(&mut connection)).await;
        match answered.map(|answer| answer.map_or_else(|error| signal(&error), |_| Signal::Answered)) {
            Some(Signal::Answered | Signal::WrongType) => listener.heard(sent),
            Some(refused @ (Signal::RefusesWrites | Signal::Full | Signal::NotReady)) => notice(refused),
            Some(lost) => return lost,
            None => return Signal::Silent,
        }
        tokio::time::sleep_until(sent + INTERVAL).await;
    }
}

fn hand_on(push: &PushInfo, listener: &impl ChangeListener) {
    if push.kind != PushKind::Invalidate {
        return;
    }
    match push.data.as_slice() {
        [Value::Array(keys)] => {
            for key in keys {
                match key {
                    Value::BulkString(key) => listener.changed(key),
                    _ => listener.flushed(),
                }
            }
        }
        // Null reports a flush. A push that cannot be parsed may stand for any change.
        _ => listener.flushed(),
    }
}
