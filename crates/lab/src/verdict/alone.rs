//! Whether one run of an arm can be judged.

use loadgen::Report;

use crate::journal::ArmRun;

/// If the generator drops more than this share of requests, the load differs from the planned one.
const MAX_DROPPED: f64 = 0.001;
/// A generator that is running or ready to run for more than this share of the time is the bottleneck.
const MAX_BUSY: f64 = 0.95;
/// The largest delay of sends at p99, in ms. The delay is part of every latency, so it can only make a system look
/// worse. With a larger delay, a limit of 320 ms would judge the generator instead of the system.
const MAX_LAG_MS: f64 = 16.0;

/// The reasons why it cannot be judged; empty if it can.
/// The run's allowance for times applies to the generator's delay, too.
pub(super) fn faults(arm: &ArmRun<'_>, allowance: f64) -> Vec<String> {
    let mut faults = arm.invalid.clone();
    match arm.gate {
        Some((true, _)) => {}
        Some((false, saw)) => faults.push(format!("no steady state, so nothing was broken: {saw}")),
        None if faults.is_empty() => faults.push("it ended before its steady state was looked at".to_owned()),
        None => {}
    }
    if !arm.has_ended && faults.is_empty() {
        faults.push("it did not come to its end".to_owned());
    }
    if arm.arm.load.is_some() && arm.has_ended {
        match arm.load {
            Some((report, _)) => faults.extend(of_the_load(report, allowance)),
            None if faults.is_empty() => faults.push("the load left no record".to_owned()),
            None => {}
        }
    }
    faults
}

fn of_the_load(report: &Report, allowance: f64) -> Vec<String> {
    let mut faults = Vec::new();
    let summary = &report.summary;
    if summary.planned == 0 {
        faults.push("the load generator sent nothing".to_owned());
    }
    let dropped = summary.dropped as f64 / summary.planned.max(1) as f64;
    if dropped > MAX_DROPPED {
        faults.push(format!(
            "the load generator dropped {:.1} % of the planned requests: all {} connections were busy",
            dropped * 100.0,
            report.plan.connections
        ));
    }
    if let Some(busiest) = report.generator.busiest()
        && busiest.busy_share() > MAX_BUSY
        && report.generator.measured_s >= 1.0
    {
        faults.push(format!(
            "the load generator was the bottleneck: it ran or waited for a core {:.0} % of the time",
            busiest.busy_share() * 100.0
        ));
    }
    if let Some(lag) = report.generator.lag_p99_ms
        && lag > MAX_LAG_MS * (1.0 + allowance)
    {
        faults.push(format!(
            "the load generator sent its requests up to {lag:.0} ms late (p99): the machine is too busy"
        ));
    }
    faults
}
