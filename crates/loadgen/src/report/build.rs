//! From the books of a finished run to its report. Numbers are rounded here, once: to the microsecond and to what a
//! reader can use.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{
    ByteCounts, ConnectionCounts, ErrorCount, Generator, Histograms, LatencyStats, LatencyTable, Mode, Outcome,
    PlanRecord, Point, Report, SCHEMA, StatusCount, Summary, verdict,
};
use crate::engine::{Books, Effort};
use crate::latencies::Latencies;
use crate::outcome::{CacheResult, ErrorClass};
use crate::plan::{Load, Plan};
use crate::tally::Tally;

impl Report {
    pub(crate) fn new(plan: &Plan, books: Books) -> Self {
        let total = &books.total;
        let all = total.latencies();
        let summary = summary(plan, &books, &all);
        let latency = LatencyTable {
            all: stats(&all),
            succeeded: stats(&total.good),
            failed: stats(&total.bad),
            service: total.service.as_ref().and_then(stats),
        };
        let generator = generator(&books, &latency);
        let errors = ErrorClass::ALL
            .into_iter()
            .zip(total.errors)
            .filter(|(_, count)| *count > 0)
            .map(|(class, count)| ErrorCount {
                class,
                count,
                example: books.causes.get(&class).cloned().unwrap_or_default(),
            })
            .collect();
        let mut report = Self {
            schema: SCHEMA.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: String::new(),
            started_unix_ms: books.started.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            plan: PlanRecord::new(plan),
            verdict: verdict::pending(),
            summary,
            latency,
            statuses: total
                .statuses
                .iter()
                .map(|((status, code), count)| StatusCount {
                    status: *status,
                    code: (!code.is_empty()).then(|| code.clone()),
                    count: *count,
                })
                .collect(),
            errors,
            instances: total.instances.clone(),
            cache: cache_counts(total),
            connections: ConnectionCounts { opened: books.opened, closed_idle: books.closed_idle },
            bytes: ByteCounts { sent: books.bytes_sent, received: books.bytes_received },
            generator,
            interval_s: plan.interval.as_secs_f64(),
            series: books.points,
            histogram: Histograms {
                unit: "us".to_owned(),
                latency: all.buckets(),
                service: total.service.as_ref().map(Latencies::buckets),
            },
            repeats: Vec::new(),
        };
        report.verdict = verdict::of(&report, books.was_cancelled, books.was_finished_early);
        report
    }
}

impl Report {
    /// Several runs of one plan: the one with the median rate in full, and the summaries of all. A run that was invalid
    /// or interrupted makes the whole so.
    pub(crate) fn of_repeats(mut reports: Vec<Self>) -> Self {
        let repeats: Vec<Summary> = reports.iter().map(|report| report.summary.clone()).collect();
        let outcomes: Vec<Outcome> = reports.iter().map(|report| report.verdict.outcome).collect();
        let worst = [Outcome::Interrupted, Outcome::Invalid].into_iter().find(|outcome| outcomes.contains(outcome));
        let mut order: Vec<usize> = (0..reports.len()).collect();
        order.sort_by(|a, b| repeats[*a].requests_per_second.total_cmp(&repeats[*b].requests_per_second));
        let invalid: Vec<String> = reports.iter().flat_map(|report| report.verdict.invalid.clone()).collect();
        let mut median = reports.swap_remove(order[order.len() / 2]);
        if let Some(worst) = worst {
            median.verdict.outcome = worst;
            if median.verdict.invalid.is_empty() {
                median.verdict.invalid = invalid;
            }
        }
        if repeats.len() > 1 {
            median.repeats = repeats;
        }
        median
    }
}

impl PlanRecord {
    fn new(plan: &Plan) -> Self {
        let (mode, arrivals, curve) = match &plan.load {
            Load::Closed { .. } => (Mode::Closed, None, Vec::new()),
            Load::Open { curve, arrivals, .. } => (Mode::Open, Some(*arrivals), curve.stages().to_vec()),
        };
        Self {
            mode,
            target: plan.target.to_string(),
            requests: plan.requests.iter().map(|request| format!("{} {}", request.method, request.path)).collect(),
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

fn summary(plan: &Plan, books: &Books, all: &Latencies) -> Summary {
    let total = &books.total;
    let seconds = books.elapsed.as_secs_f64().max(1e-9);
    let per_second = |count: u64| round(count as f64 / seconds, 2);
    let (answered, unanswered) = (total.answered(), total.unanswered());
    let planned = total.sent + total.dropped;
    let decided = planned - total.in_flight;
    let at = |quantile| all.at(quantile).map(millis);
    let sending = matches!(plan.load, Load::Open { .. }).then(|| books.sending.as_secs_f64().max(1e-9));
    Summary {
        requests_per_second: per_second(answered),
        goodput_per_second: per_second(total.succeeded),
        success_ratio: if decided == 0 { 0.0 } else { round(total.succeeded as f64 / decided as f64, 6) },
        mean_ms: all.mean().map(millis),
        p50_ms: at(0.5),
        p90_ms: at(0.9),
        p95_ms: at(0.95),
        p99_ms: at(0.99),
        p99_9_ms: at(0.999),
        max_ms: all.max().map(millis),
        elapsed_s: round(books.elapsed.as_secs_f64(), 6),
        planned,
        sent: total.sent,
        dropped: total.dropped,
        late: total.late,
        answered,
        succeeded: total.succeeded,
        refused: answered - total.succeeded,
        unanswered,
        in_flight_at_end: total.in_flight,
        errors: answered - total.succeeded + unanswered,
        retries: total.retries,
        target_rate: sending.map(|seconds| round(planned as f64 / seconds, 2)),
        sent_rate: sending.map(|seconds| round(total.sent as f64 / seconds, 2)),
    }
}

fn generator(books: &Books, latency: &LatencyTable) -> Generator {
    let share = |part: Duration, effort: &Effort| part.as_secs_f64() / effort.wall.as_secs_f64().max(1e-9);
    let busiest =
        books.efforts.iter().max_by(|a, b| share(a.cpu, a).total_cmp(&share(b.cpu, b))).copied().unwrap_or_default();
    let mut generator = Generator {
        cpu_share: round(share(busiest.cpu, &busiest), 4),
        waiting_share: busiest.waited.map(|waited| round(share(waited, &busiest), 4)),
        lag_p99_ms: books.total.lag.as_ref().and_then(|lag| lag.at(0.99)).map(millis),
        measured_s: round(busiest.wall.as_secs_f64(), 6),
        saturated: false,
        warmup_requests: books.warmup_requests,
    };
    generator.saturated = verdict::is_saturated(&generator, latency);
    generator
}

impl Point {
    /// Step number `index` of the series, which lasted for `length`.
    pub(crate) fn new(index: u64, interval: Duration, length: Duration, step: &Tally) -> Self {
        let all = step.latencies();
        let at = |quantile| all.at(quantile).map(millis);
        let mut statuses = BTreeMap::new();
        for ((status, _), count) in &step.statuses {
            *statuses.entry(status.to_string()).or_default() += count;
        }
        Self {
            at_s: round(index as f64 * interval.as_secs_f64(), 6),
            seconds: round(length.as_secs_f64(), 6),
            sent: step.sent,
            dropped: step.dropped,
            late: step.late,
            succeeded: step.succeeded,
            in_flight: step.in_flight,
            retries: step.retries,
            mean_ms: all.mean().map(millis),
            p50_ms: at(0.5),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: all.max().map(millis),
            statuses,
            errors: words(ErrorClass::ALL.map(ErrorClass::word), step.errors),
            instances: step.instances.clone(),
            cache: cache_counts(step),
        }
    }
}

fn stats(latencies: &Latencies) -> Option<LatencyStats> {
    let at = |quantile| latencies.at(quantile).map(millis);
    Some(LatencyStats {
        count: latencies.count(),
        mean_ms: latencies.mean().map(millis)?,
        min_ms: latencies.min().map(millis)?,
        p50_ms: at(0.5)?,
        p90_ms: at(0.9)?,
        p95_ms: at(0.95)?,
        p99_ms: at(0.99)?,
        p99_9_ms: at(0.999)?,
        max_ms: latencies.max().map(millis)?,
    })
}

fn cache_counts(tally: &Tally) -> BTreeMap<String, u64> {
    words(CacheResult::ALL.map(CacheResult::word), tally.cache)
}

/// Counts by their words, without the zeros.
fn words<const N: usize>(words: [&str; N], counts: [u64; N]) -> BTreeMap<String, u64> {
    words
        .into_iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(word, count)| (word.to_owned(), count))
        .collect()
}

fn millis(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1_000.0, 3)
}

fn round(value: f64, digits: i32) -> f64 {
    let factor = 10_f64.powi(digits);
    (value * factor).round() / factor
}
