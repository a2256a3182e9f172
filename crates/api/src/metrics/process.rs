//! The standard process metrics of Prometheus client libraries, read from `/proc` at each scrape.
//!
//! The `prometheus` crate's own collector keeps CPU seconds as an integer, which makes `rate()` useless over a minute.

use std::fs;

use prometheus::{
    Counter, Gauge, IntGauge,
    core::{Collector, Desc},
    proto::MetricFamily,
};

/// Kernel clock ticks per second as user space sees them; 100 on every Linux (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug)]
pub(super) struct ProcessCollector {
    cpu_seconds: Counter,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_fds: IntGauge,
    max_fds: Gauge,
    threads: IntGauge,
    start_seconds: Gauge,
}

impl ProcessCollector {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu_seconds: Counter::new("process_cpu_seconds_total", "User and system CPU time spent, in seconds.")?,
            resident_bytes: Gauge::new("process_resident_memory_bytes", "Resident memory, in bytes.")?,
            virtual_bytes: Gauge::new("process_virtual_memory_bytes", "Virtual memory, in bytes.")?,
            open_fds: IntGauge::new("process_open_fds", "Open file descriptors.")?,
            max_fds: Gauge::new("process_max_fds", "The most file descriptors there may be.")?,
            threads: IntGauge::new("process_threads", "Threads.")?,
            start_seconds: Gauge::new("process_start_time_seconds", "Start of the process, in seconds since 1970.")?,
        })
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.resident_bytes,
            &self.virtual_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.threads,
            &self.start_seconds,
        ]
    }

    /// If `/proc` cannot be read, the last values stay, so that the scrape does not fail.
    fn read(&self) -> Option<()> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The command name in parentheses may itself contain spaces and parentheses; the fields after it are numbered
        // from 3.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let cpu = (field(14)? + field(15)?) / TICKS_PER_SECOND;
        self.cpu_seconds.inc_by((cpu - self.cpu_seconds.get()).max(0.0));
        #[expect(clippy::cast_possible_truncation, reason = "a number of threads")]
        self.threads.set(field(20)? as i64);
        self.virtual_bytes.set(field(23)?);
        self.resident_bytes.set(field(24)? * rustix::param::page_size() as f64);
        let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs_f64();
        if self.start_seconds.get() == 0.0 {
            self.start_seconds.set(now - uptime + field(22)? / TICKS_PER_SECOND);
        }
        self.open_fds.set(i64::try_from(fs::read_dir("/proc/self/fd").ok()?.count()).ok()?);
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        self.max_fds.set(files.split_whitespace().next()?.parse().ok()?);
        Some(())
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all().into_iter().flat_map(Collector::collect).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_this_process() {
        let collector = ProcessCollector::new().expect("names are right");
        assert_eq!(collector.read(), Some(()));
        assert!(collector.resident_bytes.get() > 1e6 && collector.open_fds.get() > 2 && collector.threads.get() > 0);
        let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64()
            - collector.start_seconds.get();
        assert!((-1.0..3_600.0).contains(&age), "started {age} s ago");
    }
}
