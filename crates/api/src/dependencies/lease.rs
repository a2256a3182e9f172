//! A connection from the pool that can never keep its permit.
//!
//! sqlx pings a connection that is dropped before its permit goes back, and waits for the answer without a bound: on a
//! Postgres that is silently dead every dropped connection takes a permit with it until the process ends. So:
//!
//! # In the order of time
//! ## Held
//! A lease that is dropped here was cancelled in the middle of a statement. Its connection is detached and closed: the
//! permit is free at once, and Postgres finds the socket gone.
//! ## Given back
//! [`Lease::give_back`] returns a connection that is known to be idle, with the ping bounded by [`RELEASE_TIMEOUT`].
//! ## Broken
//! [`Lease::discard`] closes it, like a drop.

use std::time::Duration;

use sqlx::{PgConnection, Postgres, pool::PoolConnection};

/// A healthy Postgres answers the ping in well under a millisecond.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(250);

/// See the module's documentation.
#[derive(Debug)]
pub struct Lease(Option<PoolConnection<Postgres>>);

impl Lease {
    pub(super) fn new(connection: PoolConnection<Postgres>) -> Self {
        Self(Some(connection))
    }

    /// The connection; `None` only after the lease has ended, which its owner cannot see.
    pub(super) fn connection(&mut self) -> Option<&mut PgConnection> {
        self.0.as_deref_mut()
    }

    /// Returns an idle connection to the pool, without waiting for it.
    pub(super) fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            // When the time is over the future is dropped, and with it the connection and its permit.
            tokio::spawn(tokio::time::timeout(RELEASE_TIMEOUT, connection.return_to_pool()));
        }
    }

    /// Closes the connection.
    pub(super) fn discard(self) {}
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}
