//! How busy the generator was: the CPU time of a worker's thread, and the time in which it was ready to run but waited
//! for a core, between the end of the warm-up and the end of sending.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The measurements of one worker.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// Ready, but not running; unknown if the kernel does not report it.
    pub(crate) waited: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Meter {
    from: Duration,
    begin: Option<Reading>,
    end: Option<Reading>,
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    at: Duration,
    cpu: Duration,
    waited: Option<Duration>,
}

impl Meter {
    pub(super) fn new(warmup: Duration) -> Self {
        Self { from: warmup, begin: None, end: None }
    }

    /// Must be called in each round, by the measured thread. Returns true once, when the warm-up is over.
    pub(super) fn look(&mut self, now: Duration, is_over: bool) -> bool {
        if self.begin.is_none() && now >= self.from {
            self.begin = Some(Reading::take(now));
            return true;
        }
        if is_over && self.end.is_none() {
            self.end = Some(Reading::take(now));
        }
        false
    }

    pub(super) fn effort(&self) -> Effort {
        let (Some(begin), Some(end)) = (self.begin, self.end) else {
            return Effort::default();
        };
        Effort {
            wall: end.at.saturating_sub(begin.at),
            cpu: end.cpu.saturating_sub(begin.cpu),
            waited: end.waited.zip(begin.waited).map(|(end, begin)| end.saturating_sub(begin)),
        }
    }
}

impl Reading {
    fn take(at: Duration) -> Self {
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let cpu = Duration::new(cpu.tv_sec.unsigned_abs(), u32::try_from(cpu.tv_nsec).unwrap_or(0));
        Self { at, cpu, waited: run_queue_wait() }
    }
}

/// The second number of `schedstat`: nanoseconds on a run queue.
fn run_queue_wait() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn counts_the_work_of_this_thread_between_warm_up_and_end() {
        let start = Instant::now();
        let mut meter = Meter::new(Duration::from_millis(20));
        assert!(!meter.look(Duration::ZERO, false));
        while !meter.look(start.elapsed(), false) {}
        let begin = start.elapsed();
        while start.elapsed() < begin + Duration::from_millis(40) {}
        meter.look(start.elapsed(), true);
        let effort = meter.effort();
        assert!(effort.wall >= Duration::from_millis(40), "{effort:?}");
        // Other load on the machine: any time this thread was not running, it was waiting.
        let accounted = effort.cpu + effort.waited.unwrap_or_default();
        assert!(accounted <= effort.wall + Duration::from_millis(5), "{effort:?}");
        assert!(effort.cpu > Duration::ZERO, "{effort:?}");
    }
}
