//! A time-out for calls to a dependency that does not blame the dependency for a stall of this process.
//!
//! A process under a CPU quota stands still for most of each period of 100 ms, and so does one on a busy machine. Its
//! timers then fire late. A time-out of 40 ms that fires after 95 ms says nothing about the dependency: its answer may
//! lie in the socket, or the call was never written. If such time-outs counted, an overloaded process would give up on a
//! healthy cache, do the work in a more expensive way, and be overloaded even more.
//!
//! # In the order of time
//! ## Wait
//! [`within`] runs a future for `bound`.
//! ## Turns
//! The time is over: the event loop turns three times, so that what lies in the socket is read.
//! ## Late
//! The timer fires more than [`STALL`] late: the process has stalled. The wait is extended by `bound`, at most [`EXTENSIONS`]
//! times and never beyond `until`, the deadline of the request.
//! ## Expired
//! The timer fires in time: [`Expired::Silent`]. `until` passes in a stall: [`Expired::Stalled`], the dependency may be
//! well.

use std::{pin::pin, time::Duration};

use tokio::time::{Instant, timeout_at};

use crate::deadline::Deadline;

/// A timer that fires so much late means that the process did not run. tokio's timers are exact to 1 ms, and a busy
/// process runs its tasks within a few more.
pub const STALL: Duration = Duration::from_millis(10);

/// Turns of the event loop that a call gets after its time: to be written, to be answered, to be read.
const TURNS: u32 = 3;

/// Stalls in a row that are forgiven. One is the rule under a CPU quota, and each costs another `bound` when the dependency
/// hangs at the same time.
pub const EXTENSIONS: u32 = 3;

/// There is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Expired {
    /// The dependency did not answer in time.
    #[error("no answer in time")]
    Silent,
    /// This process did not run in time to see an answer.
    #[error("this process stalled until the deadline")]
    Stalled,
}

/// Runs `future` for `bound` from `now` on (`None`: without limit), and longer where this process stalled, but not beyond `until`.
///
/// # Errors
/// See [`Expired`].
pub async fn within<T>(
    now: Instant,
    bound: Option<Duration>,
    until: Deadline,
    future: impl Future<Output = T>,
) -> Result<T, Expired> {
    let Some(bound) = bound else { return Ok(future.await) };
    let mut future = pin!(future);
    let mut due = now + bound;
    let mut extensions = 0;
    loop {
        if let Ok(value) = timeout_at(due, &mut future).await {
            return Ok(value);
        }
        // An answer that is here is an answer: sockets are read before the dependency is blamed. In a process that is idle the
        // turns take no time; in one that has much to do, each takes milliseconds, and the call may just have been written.
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
            if let Ok(value) = timeout_at(due, &mut future).await {
                return Ok(value);
            }
        }
        let now = Instant::now();
        if extensions == EXTENSIONS || now.saturating_duration_since(due) <= STALL {
            return Err(Expired::Silent);
        }
        extensions += 1;
        match until.cap(now, Some(bound)) {
            Ok(left) => due = now + left.unwrap_or(bound),
            Err(_) => return Err(Expired::Stalled),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, time::advance};

    use super::*;

    const BOUND: Duration = Duration::from_millis(40);

    /// Runs `within` in a task of its own up to its first wait.
    async fn begin(until: Deadline) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Expired>>) {
        let (answer, answered) = oneshot::channel();
        let call = tokio::spawn(async move { within(Instant::now(), Some(BOUND), until, answered).await.map(drop) });
        tokio::task::yield_now().await;
        (answer, call)
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_that_does_not_answer_in_time_is_silent() {
        let start = Instant::now();
        let ended = within(start, Some(BOUND), Deadline::NEVER, std::future::pending::<()>()).await;
        assert_eq!((ended, start.elapsed()), (Err(Expired::Silent), BOUND));
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_the_answer_is_still_waited_for() {
        let (answer, call) = begin(Deadline::NEVER).await;
        advance(Duration::from_millis(95)).await;
        tokio::task::yield_now().await;
        assert!(!call.is_finished(), "the timer fired 55 ms late: that is a stall");
        answer.send(()).expect("it still waits");
        assert_eq!(call.await.expect("no panic"), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_does_not_hide_a_dependency_that_hangs() {
        let (_never, call) = begin(Deadline::NEVER).await;
        advance(Duration::from_millis(95)).await;
        let woken = Instant::now();
        assert_eq!(call.await.expect("no panic"), Err(Expired::Silent));
        assert_eq!(woken.elapsed(), BOUND, "one more bound, and the timer was in time");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_waited_for_beyond_the_requests_deadline() {
        let start = Instant::now();
        let until = Deadline::after(start, Some(Duration::from_millis(100)));
        let (_never, call) = begin(until).await;
        advance(Duration::from_millis(95)).await;
        assert_eq!(call.await.expect("no panic"), Err(Expired::Silent));
        assert_eq!(start.elapsed(), Duration::from_millis(100));

        let (_never, call) = begin(Deadline::after(Instant::now(), Some(Duration::from_millis(300)))).await;
        advance(Duration::from_secs(5)).await;
        assert_eq!(
            call.await.expect("no panic"),
            Err(Expired::Stalled),
            "paused for 5 s: nothing is known of the dependency"
        );
    }
}
