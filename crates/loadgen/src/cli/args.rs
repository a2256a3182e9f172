//! The arguments that `load run` and `load ab` share: the requests, and how they are sent.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use crate::check::Check;
use crate::curve::Curve;
use crate::duration;
use crate::error::LoadError;
use crate::files;
use crate::ids::{Ids, Pick};
use crate::options::{Options, Shape};
use crate::pacer::Arrivals;
use crate::plan::{Plan, Retries, Statuses};
use crate::target::Target;
use crate::template::RequestSpec;
use crate::workload::{Workload, read_curve};

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Stop after this many requests.
    #[arg(long, short = 'n', value_name = "N", help_heading = "Load")]
    requests: Option<u64>,
    /// Stop after this time; 10s if nothing else ends the run.
    #[arg(long, short = 'd', value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    pub(super) duration: Option<Duration>,
    /// Closed loop: number of users, each of which sends one request after the other [default: 10]. Open loop: limit of
    /// requests in flight; further ones are dropped and counted [default: 1000].
    #[arg(long, short = 'c', value_name = "N", help_heading = "Load")]
    connections: Option<usize>,
    /// Open loop: send this many requests per second, whether or not earlier ones were answered.
    #[arg(long, short = 'r', value_name = "RPS", help_heading = "Load", conflicts_with_all = ["stages", "curve"])]
    rate: Option<f64>,
    /// Open loop with steps and ramps: 100:10s,100..500:30s.
    #[arg(long, value_name = "STAGES", value_parser = Curve::parse, help_heading = "Load", conflicts_with = "curve")]
    stages: Option<Curve>,
    /// Open loop with a rate from a file, stretched to --duration: a day in two minutes.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    curve: Option<PathBuf>,
    /// Open loop: distribution of arrivals, even or poisson [default: even].
    #[arg(long, value_name = "SPREAD", value_parser = parse_arrivals, help_heading = "Load")]
    arrivals: Option<Arrivals>,
    /// Send for this long before anything is recorded.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    warmup: Option<Duration>,
    /// Time-out of a request [default: 2s]. A time-out is counted, and its latency too.
    #[arg(long, value_name = "TIME", value_parser = duration::parse, help_heading = "Load")]
    timeout: Option<Duration>,
    /// Open a new connection for each request.
    #[arg(long, help_heading = "Load")]
    no_keep_alive: bool,
    /// Attempts in all when there is a 5xx or no answer; retries are immediate, as those of a naive client.
    #[arg(long, value_name = "N", help_heading = "Load")]
    attempts: Option<u32>,
    /// Sending threads, each with its share of the connections [default: 1].
    #[arg(long, value_name = "N", help_heading = "Load")]
    threads: Option<usize>,
    /// Seed of all random choices of the run [default: 1].
    #[arg(long, value_name = "N", help_heading = "Load")]
    seed: Option<u64>,
    /// With https://: the certificates to trust instead of those of the system, in PEM.
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    ca_file: Option<PathBuf>,
    /// The statuses that are a success [default: 2xx].
    #[arg(long, value_name = "STATUSES", value_parser = Statuses::parse, help_heading = "Load")]
    success: Option<Statuses>,
}

#[derive(Debug, Args)]
pub(super) struct RequestArgs {
    /// The request's method [default: GET; POST if there is a body].
    #[arg(long, short = 'X', value_name = "METHOD", help_heading = "Request")]
    method: Option<String>,
    /// A header of the request; may be given several times.
    #[arg(long, short = 'H', value_name = "NAME: VALUE", value_parser = parse_header, help_heading = "Request")]
    header: Vec<(String, String)>,
    /// The request's body. It is not stored in results.
    #[arg(long, value_name = "TEXT", help_heading = "Request", conflicts_with = "body_file")]
    body: Option<String>,
    /// The request's body from a file, or from standard input when it is `-`.
    #[arg(long, value_name = "FILE", help_heading = "Request")]
    body_file: Option<PathBuf>,
    /// The range of ids that `{id}` in the URL, headers and body is chosen from, uniformly. `{{id}}` is the text
    /// `{id}`.
    #[arg(long, value_name = "FIRST..LAST", value_parser = parse_ids, help_heading = "Request")]
    ids: Option<Ids>,
    /// What an answer must contain to be a success, besides its status: header:NAME=PART, body:TEXT,
    /// json:/pointer=VALUE; may be given several times.
    #[arg(long, value_name = "CHECK", help_heading = "Request")]
    check: Vec<Check>,
    /// With several URLs: relative frequency of each, in their order [default: equal].
    #[arg(long, value_name = "N,N,…", value_delimiter = ',', help_heading = "Request")]
    weights: Vec<f64>,
}

impl RequestArgs {
    fn is_given(&self) -> bool {
        let Self { method, header, body, body_file, ids, check, weights } = self;
        method.is_some()
            || !header.is_empty()
            || body.is_some()
            || body_file.is_some()
            || ids.is_some()
            || !check.is_empty()
            || !weights.is_empty()
    }
}

/// The plan for some URLs, or for a workload against one.
pub(super) fn plan(
    urls: &[String],
    workload: Option<&Path>,
    load: &LoadArgs,
    request: &RequestArgs,
) -> Result<Plan, LoadError> {
    let options = load.options()?;
    let made = match (workload, urls) {
        (Some(_), _) if request.is_given() => Err(LoadError::setting(
            "a workload",
            "brings its own requests: no method, header, body, check, ids or weights",
        )),
        (Some(path), [url]) => Workload::read(path)?.plan_with(url, options),
        (Some(_), _) => Err(LoadError::setting("a workload", "is run against one server: give one URL")),
        (None, urls) => {
            let (target, requests) = request.requests(urls)?;
            let variables = request.ids.iter().map(|ids| ("id".to_owned(), ids.clone())).collect();
            options.plan(target, requests, variables)
        }
    };
    made.map(|plan| Plan { ca_file: load.ca_file.clone(), ..plan })
}

impl RequestArgs {
    fn requests(&self, urls: &[String]) -> Result<(Target, Vec<RequestSpec>), LoadError> {
        let body = match (&self.body, &self.body_file) {
            (Some(body), _) => Some(body.clone()),
            (None, Some(path)) => Some(read_body(path)?),
            (None, None) => None,
        };
        if !self.weights.is_empty() && self.weights.len() != urls.len() {
            let reason = format!("must be as many as the URLs, {}, not {}", urls.len(), self.weights.len());
            return Err(LoadError::setting("the weights", reason));
        }
        let method = self.method.clone().unwrap_or_else(|| if body.is_some() { "POST" } else { "GET" }.to_owned());
        let mut first: Option<Target> = None;
        let mut requests = Vec::new();
        for (at, url) in urls.iter().enumerate() {
            let (target, path) = Target::parse(url)?;
            if first.as_ref().is_some_and(|first| *first != target) {
                let reason = "all URLs of a run must be of one server; measure two servers with load ab";
                return Err(LoadError::Url { url: url.clone(), reason });
            }
            first.get_or_insert(target);
            requests.push(RequestSpec {
                method: method.clone(),
                headers: self.header.clone(),
                body: body.clone(),
                checks: self.check.clone(),
                weight: self.weights.get(at).copied().unwrap_or(1.0),
                ..RequestSpec::get(path)
            });
        }
        let target = first.ok_or_else(|| LoadError::setting("the run", "has no URL"))?;
        Ok((target, requests))
    }
}

impl LoadArgs {
    fn options(&self) -> Result<Options, LoadError> {
        let shape = match (self.rate, &self.stages, &self.curve) {
            (Some(rate), _, _) => Some(Shape::Rate(rate)),
            (_, Some(stages), _) => Some(Shape::Stages(stages.clone())),
            (_, _, Some(path)) => Some(Shape::Stretchable(read_curve(path)?)),
            (None, None, None) => None,
        };
        let retry = |attempts| Retries { attempts, backoff_ms: 0.0, on: Statuses::server_errors(), budget: None };
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

    /// Whether any of these arguments limits the run.
    pub(super) fn has_end(&self) -> bool {
        self.requests.is_some() || self.duration.is_some() || self.stages.is_some()
    }
}

fn read_body(path: &Path) -> Result<String, LoadError> {
    if path != Path::new("-") {
        return files::read(path, files::MAX_BODY);
    }
    let body = files::read_from(std::io::stdin(), files::MAX_BODY);
    body.map_err(|source| LoadError::Io { verb: "read", path: "standard input".into(), source })
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
