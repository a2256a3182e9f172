//! `load run`: from the arguments to a plan, through the run to its files, its summary and its exit code.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::live::Live;
use super::output::Output;
use super::{ExitResult, print};
use crate::curve::Curve;
use crate::duration;
use crate::engine;
use crate::error::LoadError;
use crate::ids::{Ids, Pick};
use crate::options::{Options, Shape};
use crate::pacer::Arrivals;
use crate::plan::{Plan, Retries, Statuses};
use crate::report::condition::Condition;
use crate::report::{Outcome, Report};
use crate::target::Target;
use crate::template::RequestSpec;
use crate::workload::{Workload, read_curve};

/// How long a server may take to accept the connection that shows it is there.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where to send requests, `http://host:port/path`; with --workload only `http://host:port`. `{id}` in the path is
    /// picked from --ids.
    url: String,

    /// Requests, mix and load from a file (see load-tests/); options given here go over it.
    #[arg(long, short, value_name = "FILE")]
    workload: Option<PathBuf>,

    /// End after this many requests.
    #[arg(long, short = 'n', value_name = "N", help_heading = "Load")]
    requests: Option<u64>,
    /// End after this time; 10s when nothing else ends the run.
    #[arg(long, short = 'd', value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    duration: Option<Duration>,
    /// Closed loop: users, each of whom sends one request after the other [default: 10]. Open loop: requests under way at
    /// once, beyond which they are dropped and counted [default: 1000].
    #[arg(long, short = 'c', value_name = "N", help_heading = "Load")]
    connections: Option<usize>,
    /// Open loop: send so many requests per second, whether or not earlier ones were answered.
    #[arg(long, short = 'r', value_name = "RPS", help_heading = "Load", conflicts_with_all = ["stages", "curve"])]
    rate: Option<f64>,
    /// Open loop with steps and ramps: 100:10s,100..500:30s.
    #[arg(long, value_name = "STAGES", value_parser = Curve::parse, help_heading = "Load", conflicts_with = "curve")]
    stages: Option<Curve>,
    /// Open loop with a rate from a file, stretched to --duration: a day in two minutes.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    curve: Option<PathBuf>,
    /// Open loop: how arrivals are spread, even or poisson [default: even].
    #[arg(long, value_name = "SPREAD", value_parser = parse_arrivals, help_heading = "Load")]
    arrivals: Option<Arrivals>,
    /// Send for so long before anything is recorded.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    warmup: Option<Duration>,
    /// Give up on a request after this time [default: 2s]. It is counted, and its latency too.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    timeout: Option<Duration>,
    /// Open a new connection for each request.
    #[arg(long, help_heading = "Load")]
    no_keep_alive: bool,
    /// Try so many times in all, at once and without any care, when there is a 5xx or no answer.
    #[arg(long, value_name = "N", help_heading = "Load")]
    attempts: Option<u32>,
    /// Threads that send, each with its share of the connections [default: 1].
    #[arg(long, value_name = "N", help_heading = "Load")]
    threads: Option<usize>,
    /// Decides every choice of the run [default: 1].
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,

    /// The request's method.
    #[arg(long, short = 'X', value_name = "METHOD", help_heading = "Request", conflicts_with = "workload")]
    method: Option<String>,
    /// A header of the request; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = parse_header, help_heading = "Request", conflicts_with = "workload")]
    header: Vec<(String, String)>,
    /// The request's body.
    #[arg(long, value_name = "TEXT", help_heading = "Request", conflicts_with = "workload")]
    body: Option<String>,
    /// The range that `{id}` in the URL, headers and body is picked from, evenly.
    #[arg(long, value_name = "FIRST..LAST", value_parser = parse_ids, help_heading = "Request", conflicts_with = "workload")]
    ids: Option<Ids>,

    /// The statuses that are a success [default: 2xx].
    #[arg(long, value_name = "STATUSES", value_parser = Statuses::parse, help_heading = "Result")]
    success: Option<Statuses>,
    /// Exit with 1 when this holds; may be given several times. Metrics: mean, p50, p90, p95, p99, p99.9, max (us, ms, s),
    /// success (%), errors, dropped, late (a number or %), rps, goodput. For example p95>320ms or success<95%.
    #[arg(long, value_name = "CONDITION", help_heading = "Result")]
    fail_if: Vec<Condition>,
    /// Keep everything that was recorded.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    json: Option<PathBuf>,
    /// The length of one step of the time series.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, default_value = "1s", help_heading = "Result")]
    interval: Duration,
    /// Write a page with plots that needs no network.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    html: Option<PathBuf>,
    /// Run several times, for `load compare`; the run with the median rate is shown.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Result")]
    repeat: u16,
}

pub(super) fn run(args: &RunArgs) -> ExitResult {
    let mut plan = args.plan()?;
    plan.interval = args.interval;
    plan.check()?;
    let json = args.json.as_deref().map(Output::open).transpose()?;
    let html = args.html.as_deref().map(Output::open).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(|source| LoadError::System { what: "start the runtime", source })?;
    let reports = runtime.block_on(carry_out(&plan, usize::from(args.repeat)))?;
    let mut report = Report::of_repeats(reports);
    report.command = command_line(std::env::args());
    report.judge(&args.fail_if);

    // The summary first: whatever becomes of the files, the run is not lost.
    let printed = print(&report.to_text());
    if let Some(json) = json {
        json.write(&report.to_json())?;
    }
    if let Some(html) = html {
        html.write(&report.to_html())?;
    }
    printed?;
    Ok(report.verdict.outcome.exit_code())
}

/// Runs the plan, again and again, until it is done or interrupted.
async fn carry_out(plan: &Plan, runs: usize) -> Result<Vec<Report>, LoadError> {
    let address = plan.target.reach(REACH_TIMEOUT)?;
    let listen = |kind| signal(kind).map_err(|source| LoadError::System { what: "listen for signals", source });
    let mut signals = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    let mut reports = Vec::with_capacity(runs);
    for run in 1..=runs {
        let mut live = Live::new(plan, run, runs);
        let mut running = engine::start(plan.clone(), address)?;
        let stopper = running.stopper();
        loop {
            tokio::select! {
                point = running.next_point() => match point {
                    Some(point) => live.show(&point),
                    None => break,
                },
                () = any(&mut signals) => stopper.cancel(),
            }
        }
        live.clear();
        let report = running.report().await?;
        let interrupted = report.verdict.outcome == Outcome::Interrupted;
        reports.push(report);
        if interrupted {
            break;
        }
    }
    Ok(reports)
}

async fn any((interrupt, terminate): &mut (Signal, Signal)) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl RunArgs {
    fn plan(&self) -> Result<Plan, LoadError> {
        let options = self.options()?;
        match &self.workload {
            Some(path) => Workload::read(path)?.plan_with(&self.url, options),
            None => {
                let (target, path) = Target::parse(&self.url)?;
                let request = RequestSpec {
                    method: self.method.clone().unwrap_or_else(|| "GET".to_owned()),
                    headers: self.header.clone(),
                    body: self.body.clone(),
                    ..RequestSpec::get(path)
                };
                let variables = self.ids.iter().map(|ids| ("id".to_owned(), ids.clone())).collect();
                options.plan(target, vec![request], variables)
            }
        }
    }

    fn options(&self) -> Result<Options, LoadError> {
        let shape = match (self.rate, &self.stages, &self.curve) {
            (Some(rate), _, _) => Some(Shape::Rate(rate)),
            (_, Some(stages), _) => Some(Shape::Stages(stages.clone())),
            (_, _, Some(path)) => Some(Shape::Stretchable(read_curve(path)?)),
            (None, None, None) => None,
        };
        let retry = |attempts| Retries { attempts, backoff_ms: 0.0, on: Statuses::server_errors() };
        Ok(Options {
            connections: self.connections,
            threads: self.threads,
            requests: self.requests,
            duration: self.duration,
            shape,
            arrivals: self.arrivals,
            warmup: self.warmup,
            timeout: self.timeout,
            keep_alive: self.no_keep_alive.then_some(false),
            seed: self.seed,
            success: self.success.clone(),
            retries: self.attempts.map(retry),
        })
    }
}

fn parse_arrivals(text: &str) -> Result<Arrivals, String> {
    match text {
        "even" => Ok(Arrivals::Even),
        "poisson" => Ok(Arrivals::Poisson),
        _ => Err("it is even or poisson".to_owned()),
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("it must be 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn parse_ids(text: &str) -> Result<Ids, String> {
    let example = || format!("{text:?} is no range, for example 1..1000");
    let (first, last) = text.split_once("..").ok_or_else(example)?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| example());
    Ids::new(number(first)?..=number(last)?, Pick::Uniform, 1.0)
}

/// The command as it can be typed again, but for what must not be kept: the values of headers that hold secrets.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let shown = |text: String| match SECRET_HEADERS
        .iter()
        .find_map(|name| Some(text.to_ascii_lowercase().find(name)? + name.len()))
    {
        Some(end) => format!("{} …", &text[..end]),
        None => text,
    };
    let plain =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=,@%+".contains(&b));
    let quoted = |text: String| if plain(&text) { text } else { format!("'{}'", text.replace('\'', r"'\''")) };
    let arguments = arguments.skip(1).map(shown).map(quoted);
    std::iter::once("load".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// In lower case; `proxy-authorization:` and `set-cookie:` end in one of them.
const SECRET_HEADERS: [&str; 2] = ["authorization:", "cookie:"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_can_be_typed_again() {
        let typed =
            ["target/release/load", "run", "http://h/{id}", "--fail-if", "p95>320ms", "-H", "X: it's", "--rate", "5"];
        assert_eq!(
            command_line(typed.into_iter().map(str::to_owned)),
            r"load run 'http://h/{id}' --fail-if 'p95>320ms' -H 'X: it'\''s' --rate 5"
        );
    }

    #[test]
    fn secrets_are_not_kept() {
        let typed = ["load", "run", "-H", "Authorization: Bearer xyzzy", "--header=cookie: id=xyzzy"];
        let kept = command_line(typed.into_iter().map(str::to_owned));
        assert_eq!(kept, "load run -H 'Authorization: …' '--header=cookie: …'");
    }
}
