//! The load of an arm as an experiment describes it; it is converted to a plan of the load generator.

use std::{collections::BTreeMap, time::Duration};

use loadgen::{Arrivals, Curve, Ids, Load, Pick, Plan, RequestSpec, Retries, Statuses, Target as Address};
use serde::{Deserialize, Serialize};
use stack::{Endpoints, Target};

use super::text;

/// The requests, the pace and the length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPlan {
    #[serde(default)]
    pub via: Via,
    pub pace: Pace,
    #[serde(with = "text::duration")]
    pub lasts: Duration,
    /// The ids that `{id}` in a path is chosen from.
    #[serde(default = "all_records")]
    pub ids: [u64; 2],
    /// Uniformly, mostly a few of them (Zipf), or sequentially.
    #[serde(default = "uniform")]
    pub pick: Pick,
    /// Further names such as `{cold}` for paths and bodies, each with its own ids.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub others: BTreeMap<String, IdRange>,
    #[serde(rename = "request")]
    pub requests: Vec<RequestPlan>,
    /// Closed loop: number of users. Open loop: limit of requests in flight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<usize>,
    #[serde(with = "text::duration", default = "two_seconds")]
    pub timeout: Duration,
    /// Requests per second of one user, if the rate stands for users: a report then says how many were affected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_user: Option<f64>,
    /// Statuses of a good answer; 2xx by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub good: Option<String>,
    /// The retries of a naive client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
}

/// The ids for a name in a path.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdRange {
    pub ids: [u64; 2],
    #[serde(default = "uniform")]
    pub pick: Pick,
}

impl IdRange {
    fn ids(&self) -> Result<Ids, String> {
        Ids::new(self.ids[0]..=self.ids[1], self.pick, 1.0).map_err(|reason| format!("the ids: {reason}"))
    }
}

/// The target of the requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Via {
    #[default]
    Nginx,
    Replica(u32),
}

impl From<Via> for String {
    fn from(via: Via) -> Self {
        match via {
            Via::Nginx => Target::Nginx.to_string(),
            Via::Replica(number) => Target::Api(number).to_string(),
        }
    }
}

impl TryFrom<String> for Via {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.parse() {
            Ok(Target::Nginx) => Ok(Self::Nginx),
            Ok(Target::Api(number)) => Ok(Self::Replica(number)),
            Ok(Target::Postgres | Target::Redis) | Err(_) => {
                Err(format!("requests go to `nginx` or to a replica such as `api-1`, not to `{text}`"))
            }
        }
    }
}

impl Via {
    /// Its address, if there is such a replica.
    pub(crate) fn url(self, endpoints: &Endpoints) -> Option<&str> {
        match self {
            Self::Nginx => Some(&endpoints.base_url),
            Self::Replica(number) => {
                let replica = endpoints.replicas.iter().find(|replica| replica.name == Target::Api(number));
                replica.map(|replica| replica.url.as_str())
            }
        }
    }
}

/// The rule that decides when the next request is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// Open loop: this many requests per second, independent of earlier ones.
    Rate(f64),
    /// Open loop: `100:10s,100..500:30s`, stretched to the length of the load.
    Curve(String),
    /// Open loop: a multiple of what another arm of the same run achieved.
    Times { factor: f64, of: String },
    /// Closed loop: each user waits for the answer.
    Users(usize),
    /// Closed loop: this many requests over this many connections, or fewer when the time is over.
    Requests { users: usize, count: u64 },
}

/// One kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestPlan {
    /// The name for measures of its latencies and failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default = "get")]
    pub method: String,
    pub path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// What a good answer must contain besides its status, in the syntax of the load generator: `body:"version":`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    #[serde(default = "one")]
    pub weight: f64,
}

fn all_records() -> [u64; 2] {
    [1, 1000]
}

fn uniform() -> Pick {
    Pick::Uniform
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

fn get() -> String {
    "GET".to_owned()
}

fn one() -> f64 {
    1.0
}

impl RequestPlan {
    #[must_use]
    pub fn get(path: &str) -> Self {
        Self {
            name: None,
            method: get(),
            path: path.to_owned(),
            body: None,
            headers: Vec::new(),
            checks: Vec::new(),
            weight: 1.0,
        }
    }

    /// Replaces a record by one with the same name and a unique value.
    #[must_use]
    pub fn put(path: &str) -> Self {
        Self {
            name: Some("put".to_owned()),
            method: "PUT".to_owned(),
            body: Some(r#"{"name":"measured","value":"written under load"}"#.to_owned()),
            headers: vec![("content-type".to_owned(), "application/json".to_owned())],
            ..Self::get(path)
        }
    }

    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }
}

impl LoadPlan {
    /// GETs of records with uniformly chosen ids, at a constant rate.
    #[must_use]
    pub fn rate(rate: f64, lasts: Duration) -> Self {
        Self::new(Pace::Rate(rate), lasts)
    }

    #[must_use]
    pub fn new(pace: Pace, lasts: Duration) -> Self {
        Self {
            via: Via::Nginx,
            pace,
            lasts,
            ids: all_records(),
            pick: Pick::Uniform,
            others: BTreeMap::new(),
            requests: vec![RequestPlan::get("/data/{id}")],
            connections: None,
            timeout: two_seconds(),
            per_user: None,
            good: None,
            retries: None,
        }
    }

    /// The plan of the load generator. `achieved` returns the rate that another arm of the run achieved, in requests
    /// per second.
    pub(crate) fn plan(
        &self,
        base_url: &str,
        seed: u64,
        interval: Duration,
        achieved: impl Fn(&str) -> Option<f64>,
    ) -> Result<Plan, String> {
        let failed = |error: loadgen::LoadError| error.to_string();
        let (target, _) = Address::parse(base_url).map_err(failed)?;
        let open = |curve: Curve| Load::Open { curve, arrivals: Arrivals::Poisson, requests: None };
        let load = match &self.pace {
            Pace::Rate(rate) => open(Curve::constant(*rate, self.lasts).map_err(failed)?),
            Pace::Times { factor, of } => {
                let rate =
                    achieved(of).ok_or_else(|| format!("nothing is known of the arm `{of}` to take a multiple of"))?;
                open(Curve::constant(rate * factor, self.lasts).map_err(failed)?)
            }
            Pace::Curve(text) => {
                let curve = Curve::parse(text).map_err(|reason| format!("the curve `{text}`: {reason}"))?;
                open(curve.stretched_to(self.lasts))
            }
            Pace::Users(_) => Load::Closed { requests: None, duration: Some(self.lasts) },
            Pace::Requests { count, .. } => Load::Closed { requests: Some(*count), duration: Some(self.lasts) },
        };
        let requests = self.requests.iter().map(spec).collect::<Result<Vec<_>, _>>()?;
        let mut plan = Plan::new(target, requests, load);
        match self.pace {
            Pace::Users(users) | Pace::Requests { users, .. } => plan.connections = users,
            Pace::Rate(_) | Pace::Curve(_) | Pace::Times { .. } => {}
        }
        plan.connections = self.connections.unwrap_or(plan.connections);
        plan.variables = vec![("id".to_owned(), IdRange { ids: self.ids, pick: self.pick }.ids()?)];
        for (name, range) in &self.others {
            plan.variables.push((name.clone(), range.ids()?));
        }
        plan.timeout = self.timeout;
        plan.seed = seed;
        plan.interval = interval;
        if let Some(good) = &self.good {
            plan.success = Statuses::parse(good).map_err(|reason| format!("what is good: {reason}"))?;
        }
        if let Some(retries) = &self.retries {
            plan.retries = retries.clone();
        }
        plan.check().map_err(failed)?;
        Ok(plan)
    }
}

fn spec(request: &RequestPlan) -> Result<RequestSpec, String> {
    Ok(RequestSpec {
        name: request.name.clone(),
        method: request.method.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
        checks: request.checks.iter().map(|check| check.parse()).collect::<Result<_, _>>()?,
        weight: request.weight,
        ..RequestSpec::get(request.path.clone())
    })
}
