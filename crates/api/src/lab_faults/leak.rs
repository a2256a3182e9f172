//! Allocates, writes to and keeps memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The interval of allocations. At 100 MB/s, writing to one takes about a millisecond.
const INTERVAL: Duration = Duration::from_millis(20);

/// A leak that can be started and stopped.
#[derive(Debug, Clone, Default)]
pub struct Leak {
    kept: Arc<Mutex<Option<Kept>>>,
}

#[derive(Debug)]
struct Kept {
    /// Distinguishes one leak from the next.
    since: Instant,
    pieces: Vec<Vec<u8>>,
    bytes: u64,
}

impl Leak {
    /// Starts to leak `rate` bytes per second, up to `most` bytes.
    ///
    /// # Errors
    /// A leak is already running, or the rate is 0.
    pub fn start(&self, rate: u64, most: u64) -> Result<(), String> {
        if rate == 0 {
            return Err("a leak of 0 bytes per second is none".to_owned());
        }
        let mut kept = self.lock();
        if kept.is_some() {
            return Err("it leaks already".to_owned());
        }
        let since = Instant::now();
        *kept = Some(Kept::new(since));
        drop(kept);
        tokio::spawn(self.clone().grow(since, rate, most));
        Ok(())
    }

    /// Frees everything. Returns the number of bytes, 0 when there was no leak.
    pub fn stop(&self) -> u64 {
        self.lock().take().map_or(0, |kept| kept.bytes)
    }

    async fn grow(self, since: Instant, rate: u64, most: u64) {
        let mut ticks = tokio::time::interval(INTERVAL);
        loop {
            ticks.tick().await;
            match self.lock().as_mut() {
                Some(kept) if kept.since == since && kept.bytes < most => kept.grow(since.elapsed(), rate, most),
                _ => return,
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn new(since: Instant) -> Self {
        Self { since, pieces: Vec::new(), bytes: 0 }
    }

    /// Allocates what is due after this time.
    fn grow(&mut self, time: Duration, rate: u64, most: u64) {
        let due = (time.as_secs_f64() * rate as f64) as u64;
        let missing = due.min(most).saturating_sub(self.bytes);
        // The memory is filled with a value other than zero, because the kernel provides a page only when it is written
        // to.
        self.pieces.push(vec![0x5a; missing as usize]);
        self.bytes += missing;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_at_its_rate_up_to_its_bound() {
        let mut kept = Kept::new(Instant::now());
        for (ms, bytes) in [(0, 0), (100, 100), (100, 100), (2_500, 2_500), (9_000, 5_000)] {
            kept.grow(Duration::from_millis(ms), 1_000, 5_000);
            assert_eq!(kept.bytes, bytes, "after {ms} ms");
        }
        assert_eq!(kept.pieces.iter().map(Vec::len).sum::<usize>(), 5_000);
    }

    #[tokio::test]
    async fn it_can_be_started_once_until_it_is_stopped() {
        let leak = Leak::default();
        assert!(leak.start(0, 1).is_err());
        leak.start(1_000, 5_000).unwrap();
        assert!(leak.start(1_000, 5_000).is_err(), "twice");
        leak.stop();
        leak.start(1_000, 5_000).unwrap();
    }
}
