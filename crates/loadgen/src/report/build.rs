//! Builds the report of a finished run: every value is a sum over the axis. Nothing is rounded here; numbers are
//! rounded when they are printed.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{
    AxisStep, ByteCounts, ConnectionCounts, ErrorCount, Generator, Histograms, KindRecord, LatencyStats, LatencyTable,
    Mode, PlanRecord, Point, Report, SCHEMA, StatusCount, Summary, ThreadRecord, verdict,
};
use crate::axis::Span;
use crate::engine::{Effort, Totals};
use crate::latencies::{Latencies, Quantile};
use crate::machine::Machine;
use crate::plan::{Load, Plan};
use crate::secrets;
use crate::tally::{KindTally, Tally};

impl Report {
    pub(crate) fn new(plan: &Plan, totals: &Totals) -> Self {
        let total = totals.axis.total();
        let is_open = matches!(plan.load, Load::Open { .. });
        let spans = totals.axis.spans(totals.elapsed);
        let errors = total.errors.iter().map(|(class, count)| ErrorCount {
            class: *class,
            count: *count,
            example: totals.causes.get(class).cloned().unwrap_or_default(),
        });
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: String::new(),
            machine: Machine::this(),
            started_unix_ms: totals.started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            plan: PlanRecord::new(plan),
            ending: totals.ending,
            verdict: verdict::pending(),
            summary: summary(plan, totals, &total),
            latency: latency_table(&total, is_open),
            kinds: kinds(&plan.kinds(), &total),
            statuses: statuses(&total),
            errors: errors.collect(),
            instances: total.instances.clone(),
            cache: words(&total.cache, |result| result.word()),
            connections: ConnectionCounts {
                opened: totals.opened,
                closed_idle: totals.closed_idle,
                resent: totals.resent,
            },
            bytes: ByteCounts { sent: totals.bytes_sent, received: totals.bytes_received },
            generator: generator(totals, &total),
            interval_s: totals.axis.interval().as_secs_f64(),
            series: spans.iter().map(Point::new).collect(),
            histogram: Histograms {
                unit: "us".to_owned(),
                good: total.good().buckets(),
                bad: total.bad().buckets(),
                service: is_open.then(|| total.service.buckets()),
            },
            axis: spans.into_iter().map(AxisStep::new).collect(),
            repeats: Vec::new(),
        };
        report.generator.saturated = verdict::is_saturated(&report);
        report.judge(&plan.fail_if);
        report
    }

    /// The sum of everything that was recorded.
    pub(crate) fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.axis.iter().for_each(|step| total.add(&step.requests));
        total
    }
}

impl PlanRecord {
    pub(crate) fn new(plan: &Plan) -> Self {
        let (mode, arrivals, curve) = match &plan.load {
            Load::Closed { .. } => (Mode::Closed, None, Vec::new()),
            Load::Open { curve, arrivals, .. } => (Mode::Open, Some(*arrivals), curve.stages().to_vec()),
        };
        let line = |request: &crate::RequestSpec| format!("{} {}", request.method, secrets::mask_url(&request.path));
        Self {
            mode,
            target: plan.target.to_string(),
            requests: plan.requests.iter().map(line).collect(),
            requests_hash: plan.requests_hash(),
            connections: plan.connections,
            threads: plan.threads,
            planned_requests: plan.count(),
            duration_s: plan.length().map(|length| length.as_secs_f64()),
            warmup_s: plan.warmup.as_secs_f64(),
            timeout_ms: millis(plan.timeout),
            keep_alive: plan.keep_alive,
            seed: plan.seed,
            arrivals,
            curve,
            retries: plan.retries.clone(),
            success: plan.success.clone(),
        }
    }
}

fn summary(plan: &Plan, totals: &Totals, total: &Tally) -> Summary {
    let rates = matches!(plan.load, Load::Open { .. }).then(|| {
        let scheduled = totals.scheduled.as_secs_f64().max(1e-9);
        let sending = totals.scheduled.max(totals.last_send).as_secs_f64().max(1e-9);
        (total.planned() as f64 / scheduled, total.sent as f64 / sending)
    });
    let mut summary = Summary::of(total, totals.elapsed.as_secs_f64());
    (summary.target_rate, summary.sent_rate) = rates.unzip();
    summary
}

impl Summary {
    /// Rates of requests that were planned in an interval of this many seconds.
    pub(super) fn of(total: &Tally, seconds: f64) -> Self {
        let per_second = |count: u64| count as f64 / seconds.max(1e-9);
        let good = total.good();
        let (answered, unanswered, succeeded) = (total.answered(), total.unanswered(), total.succeeded());
        let decided = total.planned() - total.in_flight();
        let at = |quantile| good.at(quantile).map(millis);
        Self {
            requests_per_second: per_second(answered),
            goodput_per_second: per_second(succeeded),
            success_ratio: if decided == 0 { 0.0 } else { succeeded as f64 / decided as f64 },
            mean_ms: good.mean().map(millis),
            p50_ms: at(Quantile::P50),
            p90_ms: at(Quantile::P90),
            p95_ms: at(Quantile::P95),
            p99_ms: at(Quantile::P99),
            p99_9_ms: at(Quantile::P99_9),
            max_ms: good.max().map(millis),
            elapsed_s: seconds,
            planned: total.planned(),
            sent: total.sent,
            dropped: total.dropped,
            late: total.late,
            distorted: total.distorted,
            answered,
            succeeded,
            refused: answered - succeeded,
            unanswered,
            in_flight_at_end: total.in_flight(),
            errors: answered - succeeded + unanswered,
            retries: total.retries,
            target_rate: None,
            sent_rate: None,
        }
    }
}

pub(super) fn latency_table(total: &Tally, is_open: bool) -> LatencyTable {
    let (good, bad) = (total.good(), total.bad());
    let mut all = good.clone();
    all.add(&bad);
    LatencyTable {
        all: stats(&all),
        good: stats(&good),
        bad: stats(&bad),
        service: is_open.then(|| stats(&total.service)).flatten(),
    }
}

pub(super) fn kinds(names: &[String], total: &Tally) -> Vec<KindRecord> {
    let none = KindTally::default();
    let record = |(at, name): (usize, &String)| {
        let kind = total.kinds.get(at).unwrap_or(&none);
        KindRecord {
            name: name.clone(),
            sent: kind.sent,
            succeeded: kind.good.count(),
            good: stats(&kind.good),
            bad: stats(&kind.bad),
        }
    };
    names.iter().enumerate().map(record).collect()
}

pub(super) fn statuses(total: &Tally) -> Vec<StatusCount> {
    let row = |((status, code), count): (&(u16, String), &u64)| StatusCount {
        status: *status,
        code: (!code.is_empty()).then(|| code.clone()),
        count: *count,
    };
    total.statuses.iter().map(row).collect()
}

fn generator(totals: &Totals, total: &Tally) -> Generator {
    let share = |part: Duration, effort: &Effort| part.as_secs_f64() / effort.wall.as_secs_f64().max(1e-9);
    let thread = |effort: &Effort| ThreadRecord {
        cpu_share: share(effort.cpu, effort),
        waiting_share: effort.waited.map(|waited| share(waited, effort)),
    };
    let measured = totals.efforts.iter().map(|effort| effort.wall).max().unwrap_or_default();
    Generator {
        threads: totals.efforts.iter().map(thread).collect(),
        lag_p99_ms: total.lag.at(Quantile::P99).map(millis),
        lag_max_ms: total.lag.max().map(millis),
        stalls: totals.stalls,
        measured_s: measured.as_secs_f64(),
        saturated: false,
        warmup_requests: totals.warmup_requests,
    }
}

impl AxisStep {
    fn new(span: Span) -> Self {
        Self {
            at_s: span.at.as_secs_f64(),
            seconds: span.length.as_secs_f64(),
            in_flight: span.step.in_flight,
            requests: span.step.tally,
        }
    }
}

impl Point {
    pub(crate) fn new(span: &Span) -> Self {
        let tally = &span.step.tally;
        let good = tally.good();
        let at = |quantile| good.at(quantile).map(millis);
        let mut statuses = BTreeMap::new();
        for ((status, _), count) in &tally.statuses {
            *statuses.entry(status.to_string()).or_default() += count;
        }
        Self {
            at_s: span.at.as_secs_f64(),
            seconds: span.length.as_secs_f64(),
            sent: tally.sent,
            dropped: tally.dropped,
            late: tally.late,
            succeeded: tally.succeeded(),
            in_flight: span.step.in_flight,
            retries: tally.retries,
            mean_ms: good.mean().map(millis),
            p50_ms: at(Quantile::P50),
            p95_ms: at(Quantile::P95),
            p99_ms: at(Quantile::P99),
            max_ms: good.max().map(millis),
            statuses,
            errors: words(&tally.errors, |class| class.word()),
            instances: tally.instances.clone(),
            cache: words(&tally.cache, |result| result.word()),
        }
    }
}

/// The percentiles in a table.
const SHOWN: [(&str, Quantile); 5] = [
    ("p50", Quantile::P50),
    ("p90", Quantile::P90),
    ("p95", Quantile::P95),
    ("p99", Quantile::P99),
    ("p99.9", Quantile::P99_9),
];

pub(super) fn stats(latencies: &Latencies) -> Option<LatencyStats> {
    let at = |quantile| latencies.at(quantile).map(millis);
    let too_few = |(name, quantile): &(&str, Quantile)| {
        (latencies.count() < quantile.samples_needed()).then(|| (*name).to_owned())
    };
    Some(LatencyStats {
        count: latencies.count(),
        mean_ms: latencies.mean().map(millis)?,
        min_ms: latencies.min().map(millis)?,
        p50_ms: at(Quantile::P50)?,
        p90_ms: at(Quantile::P90)?,
        p95_ms: at(Quantile::P95)?,
        p99_ms: at(Quantile::P99)?,
        p99_9_ms: at(Quantile::P99_9)?,
        max_ms: latencies.max().map(millis)?,
        too_few_for: SHOWN.iter().filter_map(too_few).collect(),
    })
}

/// Counts by name.
pub(super) fn words<K>(counts: &BTreeMap<K, u64>, word: impl Fn(&K) -> &'static str) -> BTreeMap<String, u64> {
    counts.iter().map(|(key, count)| (word(key).to_owned(), *count)).collect()
}

pub(super) fn millis(duration: Duration) -> f64 {
    // Nanoseconds are integers, so one division gives the nearest number.
    duration.as_nanos() as f64 / 1e6
}
