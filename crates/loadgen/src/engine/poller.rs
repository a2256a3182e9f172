//! Waits for sockets and for the next planned time, with microsecond resolution.
//!
//! The time-out of epoll has a resolution of milliseconds, which would make every open-loop send up to a millisecond
//! late. A timerfd in the same epoll set wakes on time.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// The number of events that are served before the clock is read again.
pub(super) const BATCH: usize = 64;
/// The longest sleep, which bounds the reaction to a stop.
pub(super) const MAX_SLEEP: Duration = Duration::from_millis(50);
const TIMER: u64 = u64::MAX;

/// An event of a socket, and the slot it belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) token: u64,
    /// There is data or an end of stream to read.
    pub(super) readable: bool,
    /// The peer has closed or the connection broke; the data that can be read now is the last.
    pub(super) hung_up: bool,
}

pub(super) struct Poller {
    epoll: OwnedFd,
    timer: OwnedFd,
    armed: Option<Duration>,
    events: Vec<Event>,
}

impl Poller {
    pub(super) fn new() -> Result<Self, Errno> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, armed: None, events: Vec::with_capacity(BATCH) })
    }

    /// Watches a socket until it is closed. Edge-triggered for all events, so no other system call per socket is
    /// needed.
    pub(super) fn add(&self, socket: impl AsFd, token: u64) -> Result<(), Errno> {
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, socket, EventData::new_u64(token), flags)
    }

    /// Sleeps until a socket is ready or until `wake` (counted from the start of the run), then returns the number of
    /// ready sockets; see [`Poller::ready`].
    pub(super) fn wait(&mut self, now: Duration, wake: Duration) -> Result<usize, Errno> {
        let timeout = if wake <= now {
            Timespec { tv_sec: 0, tv_nsec: 0 }
        } else {
            if self.armed != Some(wake) {
                let once = Itimerspec { it_interval: timespec(Duration::ZERO), it_value: timespec(wake - now) };
                timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
                self.armed = Some(wake);
            }
            timespec(MAX_SLEEP)
        };
        self.events.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        self.events.retain(|event| event.data.u64() != TIMER);
        Ok(self.events.len())
    }

    pub(super) fn ready(&self, index: usize) -> Ready {
        let Event { flags, data } = self.events[index];
        let hung_up = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        Ready { token: data.u64(), readable: hung_up || flags.contains(EventFlags::IN), hung_up }
    }
}

fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs().try_into().unwrap_or(i64::MAX), tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn wakes_within_a_millisecond_of_the_planned_moment() {
        let mut poller = Poller::new().unwrap();
        let start = Instant::now();
        // The best of several attempts, because another process may occupy the core during any one of them.
        let delays = (1..=20).map(|step| {
            let wake = Duration::from_micros(2_300) * step;
            while start.elapsed() < wake {
                assert_eq!(poller.wait(start.elapsed(), wake).unwrap(), 0);
            }
            start.elapsed() - wake
        });
        assert!(delays.min().unwrap() < Duration::from_micros(500));
    }
}
