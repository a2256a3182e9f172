//! Makes the time-outs of calls cheap: while requests come, the runtime's earliest timer is always near.
//!
//! tokio waits for events until its earliest timer. A timer that is set to an earlier time makes it wait anew, which it does
//! by writing to a descriptor: a system call per call of a dependency, because each has a time-out of its own and other
//! timers are seldom earlier. The pulse is a timer that is earlier than every such time-out. When no request comes, it
//! stops, so that an idle process stays idle.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{sync::Notify, time::sleep};

/// Half of the shortest time-out of a call, that of one attempt at Redis (`REDIS_ATTEMPT_TIMEOUT`, 40 ms).
const PERIOD: Duration = Duration::from_millis(20);

/// See the [module documentation](self).
#[derive(Debug, Default)]
pub struct Pulse {
    /// Whether [`beat`](Self::beat) has a timer, or is about to set it.
    beating: AtomicBool,
    /// Whether there was a request since the last beat.
    used: AtomicBool,
    start: Notify,
}

impl Pulse {
    /// A request that may call a dependency.
    pub fn request(&self) {
        self.used.store(true, Ordering::Relaxed);
        if !self.beating.load(Ordering::Relaxed) && !self.beating.swap(true, Ordering::Relaxed) {
            self.start.notify_one();
        }
    }

    /// Keeps the timer while requests come. Never returns.
    pub async fn beat(&self) {
        loop {
            self.start.notified().await;
            while self.used.swap(false, Ordering::Relaxed) {
                sleep(PERIOD).await;
            }
            // A request in this moment starts no timer. The next one does.
            self.beating.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn is_beating(pulse: &Pulse) -> bool {
        pulse.beating.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn it_beats_while_requests_come_and_then_stops() {
        let pulse = Arc::new(Pulse::default());
        let beating = Arc::clone(&pulse);
        let task = tokio::spawn(async move { beating.beat().await });
        sleep(PERIOD * 3).await;
        assert!(!is_beating(&pulse), "nothing has come yet");
        for _ in 0..2 {
            for _ in 0..10 {
                pulse.request();
                sleep(PERIOD / 2).await;
                assert!(is_beating(&pulse));
            }
            sleep(PERIOD * 3).await;
            assert!(!is_beating(&pulse), "nothing comes any more");
        }
        task.abort();
    }
}
