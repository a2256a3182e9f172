//! Workload and curve files (TOML, see `load-tests/`). Errors are reported with their line.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Spanned;

use crate::check::Check;
use crate::curve::{Curve, Stage};
use crate::duration;
use crate::error::LoadError;
use crate::files;
use crate::ids::{Ids, Pick};
use crate::options::{Options, Shape};
use crate::pacer::Arrivals;
use crate::plan::{Plan, Retries, Statuses};
use crate::target::Target;
use crate::template::{Field, Mix, RequestSpec};

/// A parsed and validated workload file: the requests, their mix, and the default settings of the run.
#[derive(Clone, Debug)]
pub struct Workload {
    pub description: String,
    pub requests: Vec<RequestSpec>,
    pub variables: Vec<(String, Ids)>,
    pub(crate) options: Options,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadFile {
    #[serde(default)]
    description: String,
    #[serde(default)]
    load: LoadTable,
    #[serde(default)]
    variables: BTreeMap<String, Spanned<VariableTable>>,
    request: Vec<Spanned<RequestTable>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LoadTable {
    connections: Option<usize>,
    threads: Option<usize>,
    requests: Option<u64>,
    duration: Option<Spanned<String>>,
    rate: Option<Spanned<f64>>,
    stages: Option<Spanned<String>>,
    curve: Option<Spanned<PathBuf>>,
    arrivals: Option<Arrivals>,
    warmup: Option<Spanned<String>>,
    timeout: Option<Spanned<String>>,
    keep_alive: Option<bool>,
    seed: Option<u64>,
    success: Option<Spanned<String>>,
    retries: Option<RetriesTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetriesTable {
    attempts: u32,
    backoff: Option<Spanned<String>>,
    on: Option<Spanned<String>>,
    budget: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VariableTable {
    range: (u64, u64),
    #[serde(default)]
    pick: Pick,
    skew: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestTable {
    name: Option<String>,
    #[serde(default = "get")]
    method: Spanned<String>,
    path: Spanned<String>,
    #[serde(default)]
    headers: Option<Spanned<BTreeMap<String, String>>>,
    body: Option<Spanned<String>>,
    #[serde(default)]
    checks: Vec<Spanned<String>>,
    weight: Option<Spanned<f64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CurveFile {
    #[serde(default, rename = "description")]
    _description: String,
    length: Spanned<String>,
    #[serde(default = "one")]
    requests_per_second_per_unit: f64,
    points: Spanned<Vec<Spanned<(f64, f64)>>>,
}

fn get() -> Spanned<String> {
    Spanned::new(0..0, "GET".to_owned())
}

fn one() -> f64 {
    1.0
}

/// The default skew of a Zipf distribution, typical for web traces.
const DEFAULT_SKEW: f64 = 1.0;

impl Workload {
    /// Reads and checks a workload file, and the curve file that it names.
    ///
    /// # Errors
    /// The file and the line with the error.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let source = Source::read(path)?;
        let file: WorkloadFile = source.parse()?;
        let options = source.options(file.load)?;
        let mut variables = Vec::new();
        for (name, table) in file.variables {
            let span = table.span();
            let VariableTable { range: (first, last), pick, skew } = table.into_inner();
            if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
                return Err(source.fault(&span, format!("{name:?} is no name for a variable: use a-z and _")));
            }
            let ids =
                Ids::new(first..=last, pick, skew.unwrap_or(DEFAULT_SKEW)).map_err(|why| source.fault(&span, why))?;
            variables.push((name, ids));
        }
        if file.request.is_empty() {
            return Err(source.fault(&(0..0), "it has no [[request]]".to_owned()));
        }
        let requests = file.request.iter().map(|table| table.get_ref().spec(&source)).collect::<Result<Vec<_>, _>>()?;
        Mix::new(&requests, &variables, "host", true).map_err(|(index, field, why)| {
            let table = &file.request[index];
            source.fault(&table.get_ref().span_of(field).unwrap_or_else(|| table.span()), why)
        })?;
        Ok(Self { description: file.description, requests, variables, options })
    }

    /// The plan of this workload against a server. The settings are public fields of the plan.
    ///
    /// # Errors
    /// The URL is not just `http://host:port`, or a setting is out of bounds.
    pub fn plan(self, base_url: &str) -> Result<Plan, LoadError> {
        self.plan_with(base_url, Options::default())
    }

    pub(crate) fn plan_with(self, base_url: &str, over: Options) -> Result<Plan, LoadError> {
        let (target, path) = Target::parse(base_url)?;
        if path != "/" {
            let reason = "a workload brings its own paths: give only http://host:port";
            return Err(LoadError::Url { url: base_url.to_owned(), reason });
        }
        over.or(self.options).plan(target, self.requests, self.variables)
    }
}

/// Reads a curve file: a rate over time, with any unit of time.
pub(crate) fn read_curve(path: &Path) -> Result<Curve, LoadError> {
    let source = Source::read(path)?;
    let file: CurveFile = source.parse()?;
    let length = source.text(&file.length, duration::parse)?;
    let factor = file.requests_per_second_per_unit;
    let mut stages = Vec::new();
    let mut before: Option<(f64, f64)> = None;
    for point in file.points.get_ref() {
        let (at, value) = *point.get_ref();
        match before {
            None if at != 0.0 => return Err(source.fault(&point.span(), "the first point must be at 0".to_owned())),
            None => {}
            Some((earlier, from)) if at > earlier => {
                stages.push(Stage { from: from * factor, to: value * factor, seconds: at - earlier });
            }
            Some(_) => return Err(source.fault(&point.span(), "points must follow each other in time".to_owned())),
        }
        before = Some((at, value));
    }
    let fault = |error: LoadError| source.fault(&file.points.span(), error.to_string());
    if length.is_zero() {
        return Err(source.fault(&file.length.span(), "the length must be above 0".to_owned()));
    }
    // In seconds from here on, whatever the unit.
    let total: f64 = stages.iter().map(|stage| stage.seconds).sum();
    for stage in &mut stages {
        stage.seconds *= length.as_secs_f64() / total;
    }
    Curve::new(stages).map_err(fault)
}

impl RequestTable {
    fn spec(&self, source: &Source<'_>) -> Result<RequestSpec, LoadError> {
        let checks = self.checks.iter().map(|check| source.text(check, |text| text.parse::<Check>()));
        let headers = self.headers.as_ref().map(|headers| headers.get_ref().clone()).unwrap_or_default();
        Ok(RequestSpec {
            name: self.name.clone(),
            method: self.method.get_ref().clone(),
            path: self.path.get_ref().clone(),
            headers: headers.into_iter().collect(),
            body: self.body.as_ref().map(|body| body.get_ref().clone()),
            checks: checks.collect::<Result<_, _>>()?,
            weight: self.weight.as_ref().map_or(1.0, |weight| *weight.get_ref()),
        })
    }

    fn span_of(&self, field: Field) -> Option<Range<usize>> {
        match field {
            Field::Method => Some(self.method.span()),
            Field::Path => Some(self.path.span()),
            Field::Headers => self.headers.as_ref().map(Spanned::span),
            Field::Body => self.body.as_ref().map(Spanned::span),
            Field::Weight => self.weight.as_ref().map(Spanned::span),
        }
    }
}

/// The text of a file, used to find line numbers.
struct Source<'a> {
    path: &'a Path,
    text: String,
}

impl<'a> Source<'a> {
    fn read(path: &'a Path) -> Result<Self, LoadError> {
        Ok(Self { path, text: files::read(path, files::MAX_WORKLOAD)? })
    }

    fn parse<T: DeserializeOwned>(&self) -> Result<T, LoadError> {
        toml::from_str(&self.text)
            .map_err(|error| self.fault(&error.span().unwrap_or(0..0), error.message().to_owned()))
    }

    fn fault(&self, span: &Range<usize>, reason: String) -> LoadError {
        let line = self.text[..span.start.min(self.text.len())].matches('\n').count() + 1;
        LoadError::File { path: self.path.to_owned(), line, reason }
    }

    /// A value written as a string.
    fn text<T>(&self, text: &Spanned<String>, read: fn(&str) -> Result<T, String>) -> Result<T, LoadError> {
        read(text.get_ref()).map_err(|why| self.fault(&text.span(), why))
    }

    fn optional<T>(
        &self,
        text: Option<&Spanned<String>>,
        read: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, LoadError> {
        text.map(|text| self.text(text, read)).transpose()
    }

    fn options(&self, table: LoadTable) -> Result<Options, LoadError> {
        let shape = match (&table.rate, &table.stages, &table.curve) {
            (None, None, None) => None,
            (Some(rate), None, None) => {
                Curve::constant(*rate.get_ref(), Duration::from_secs(1))
                    .map_err(|error| self.fault(&rate.span(), error.to_string()))?;
                Some(Shape::Rate(*rate.get_ref()))
            }
            (None, Some(stages), None) => Some(Shape::Stages(self.text(stages, Curve::parse)?)),
            (None, None, Some(curve)) => {
                let beside = self.path.parent().unwrap_or(Path::new("")).join(curve.get_ref());
                Some(Shape::Stretchable(read_curve(&beside)?))
            }
            (rate, stages, curve) => {
                let spans = [
                    rate.as_ref().map(Spanned::span),
                    stages.as_ref().map(Spanned::span),
                    curve.as_ref().map(Spanned::span),
                ];
                let last = spans.into_iter().flatten().max_by_key(|span| span.start).unwrap_or(0..0);
                return Err(self.fault(&last, "rate, stages and curve exclude each other".to_owned()));
            }
        };
        let retries = match table.retries {
            None => None,
            Some(RetriesTable { attempts, backoff, on, budget }) => Some(Retries {
                attempts,
                backoff_ms: self.optional(backoff.as_ref(), duration::parse)?.unwrap_or_default().as_secs_f64()
                    * 1_000.0,
                on: self.optional(on.as_ref(), Statuses::parse)?.unwrap_or_else(Statuses::server_errors),
                budget,
            }),
        };
        Ok(Options {
            connections: table.connections,
            threads: table.threads,
            requests: table.requests,
            duration: self.optional(table.duration.as_ref(), duration::parse)?,
            shape,
            arrivals: table.arrivals,
            warmup: self.optional(table.warmup.as_ref(), duration::parse)?,
            timeout: self.optional(table.timeout.as_ref(), duration::parse)?,
            keep_alive: table.keep_alive,
            seed: table.seed,
            success: self.optional(table.success.as_ref(), Statuses::parse)?,
            retries,
        })
    }
}

#[cfg(test)]
mod tests;
