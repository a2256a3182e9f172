//! `load run`: from the arguments to a plan, through the run to its files, its summary and its exit code.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::args::{LoadArgs, RequestArgs, plan};
use super::live::Live;
use super::output::Output;
use super::raw::RawFile;
use super::{ExitResult, command_line, listen, print, runtime, unless_interrupted};
use crate::address::Addresses;
use crate::duration;
use crate::engine;
use crate::error::LoadError;
use crate::plan::Plan;
use crate::report::condition::Condition;
use crate::report::{Outcome, Report};
use crate::signals::Signals;
use crate::target::Target;

/// Time limit for the server to accept the first connection.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time limit for writing the results after a signal: enough for a disk, and short when nothing reads a pipe any more.
const WRITE_GRACE: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where to send requests, `http://host:port/path` or `unix:/socket:/path`; several are used in turn. With
    /// --workload only `http://host:port`. `{id}` in the path is chosen from --ids.
    #[arg(required = true)]
    url: Vec<String>,

    /// Requests, mix and load from a file (see `load init`); options given here override it.
    #[arg(long, short, value_name = "FILE")]
    workload: Option<PathBuf>,

    #[command(flatten)]
    load: LoadArgs,

    #[command(flatten)]
    request: RequestArgs,

    /// Exit with 1 when this holds; may be given several times. Metrics: mean, max, p50, p99.9 or any percentile (us, ms, s)
    /// of good answers, or of others as bad.p95, all.p95, kind.NAME.p95; success and kind.NAME.success (%); errors, dropped,
    /// late (a number or %); rps, goodput. For example p95>320ms or success<95%.
    #[arg(long, value_name = "CONDITION", help_heading = "Result")]
    fail_if: Vec<Condition>,
    /// End the run as soon as a --fail-if condition is met; checked after each --interval.
    #[arg(long, requires = "fail_if", help_heading = "Result")]
    abort: bool,
    /// Store everything that was recorded.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    json: Option<PathBuf>,
    /// The length of one step of the time series.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s", help_heading = "Result")]
    interval: Duration,
    /// Write a page with plots that needs no network.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    html: Option<PathBuf>,
    /// Write the result in Prometheus text format, for a node exporter's textfile collector or a push gateway.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    prometheus: Option<PathBuf>,
    /// Write each request as a line of JSON when it has ended: planned, sent and ended in ns from the end of the warm-up.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    raw: Option<PathBuf>,
    /// Run several times, for `load compare`; the run with the median rate is shown, and each one is judged.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Result")]
    repeat: u16,
}

pub(super) fn run(args: &RunArgs) -> ExitResult {
    let mut plan = plan(&args.url, args.workload.as_deref(), &args.load, &args.request)?;
    plan.interval = args.interval;
    plan.fail_if = args.fail_if.clone();
    plan.abort = args.abort;
    plan.check()?;
    let open = |path: &Option<PathBuf>| path.as_deref().map(Output::open).transpose();
    let (json, html, prometheus) = (open(&args.json)?, open(&args.html)?, open(&args.prometheus)?);
    let raw = args.raw.as_deref().map(RawFile::create).transpose()?;
    let runs = usize::from(args.repeat);
    runtime()?.block_on(async {
        let mut signals = listen()?;
        let reports = carry_out(&plan, runs, raw.as_ref(), &mut signals).await?;
        let mut report = Report::of_repeats(reports, &plan.fail_if);
        report.command = command_line();
        let write = move || {
            // The summary first: whatever becomes of the files, the run is not lost.
            let printed = print(&report.to_text());
            if let Some(json) = json {
                json.write(&report.to_json())?;
            }
            if let Some(html) = html {
                html.write(&report.to_html())?;
            }
            if let Some(prometheus) = prometheus {
                prometheus.write(&report.to_prometheus())?;
            }
            if let Some(raw) = raw {
                raw.finish()?;
            }
            printed?;
            Ok(report.verdict.outcome.exit_code())
        };
        unless_interrupted(&mut signals, WRITE_GRACE, "the results were written", write).await
    })
}

/// Runs the plan, again and again, until it is done or interrupted.
async fn carry_out(
    plan: &Plan,
    runs: usize,
    raw: Option<&RawFile>,
    signals: &mut Signals,
) -> Result<Vec<Report>, LoadError> {
    let addresses = reach(&plan.target, signals).await?;
    let mut reports = Vec::with_capacity(runs);
    for run in 1..=runs {
        let title = if runs > 1 { format!("run {run} of {runs}  ") } else { String::new() };
        let sink = raw.map(|raw| raw.sink(run, plan.kinds()));
        let running = engine::start_keeping(plan.clone(), addresses.clone(), sink)?;
        let report = watch(running, Live::new(plan, title), signals).await?;
        let interrupted = report.verdict.outcome == Outcome::Interrupted;
        reports.push(report);
        if interrupted {
            break;
        }
    }
    Ok(reports)
}

/// The addresses at which the server answers.
pub(super) async fn reach(target: &Target, signals: &mut Signals) -> Result<Addresses, LoadError> {
    let target = target.clone();
    unless_interrupted(signals, Duration::ZERO, "the first request", move || target.reach(REACH_TIMEOUT)).await
}

/// Shows how a run goes until it is over; a signal ends it.
pub(super) async fn watch(
    mut running: engine::Running,
    mut live: Live,
    signals: &mut Signals,
) -> Result<Report, LoadError> {
    let stopper = running.stopper();
    loop {
        tokio::select! {
            point = running.next_point() => match point {
                Some(point) => live.show(&point),
                None => break,
            },
            () = signals.any() => stopper.cancel(),
        }
    }
    live.clear();
    running.report().await
}
