//! The status and the addresses of the stack: the types that `lab status --json` prints and experiments read.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{ActiveFault, DriverKind, Holder, Target};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers.
    Up,
    /// Its processes are frozen.
    Paused,
    /// It is not running.
    Stopped,
    /// It runs but does not answer (yet).
    Starting,
}

impl State {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub driver: DriverKind,
    /// The stack's URL, through nginx.
    pub base_url: String,
    pub replicas: Vec<ReplicaStatus>,
    pub dependencies: Dependencies,
    /// The monitoring programs, name to address; empty if there are none.
    pub observability: BTreeMap<String, String>,
    /// The holder of the stack, if it is reserved.
    #[serde(default)]
    pub session: Option<Holder>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReplicaStatus {
    pub name: Target,
    /// The replica's own URL, without nginx.
    pub url: String,
    #[serde(flatten)]
    pub server: ServerStatus,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dependencies {
    pub postgres: DependencyStatus,
    pub redis: DependencyStatus,
    pub nginx: DependencyStatus,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DependencyStatus {
    /// `host:port`; empty if it cannot be reached from this machine.
    pub address: String,
    #[serde(flatten)]
    pub server: ServerStatus,
}

/// Fields that replicas and dependencies share. `pid` is set by the process driver, `container` by compose.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerStatus {
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Injected and not undone yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ActiveFault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
}

impl Status {
    /// The replica that an answer's `X-Instance` names: its own name with the process driver, its container's with
    /// compose.
    #[must_use]
    pub fn instance(&self, x_instance: &str) -> Option<Target> {
        let is_it = |replica: &&ReplicaStatus| {
            replica.server.container.as_deref() == Some(x_instance) || replica.name.to_string() == x_instance
        };
        self.replicas.iter().find(is_it).map(|replica| replica.name)
    }

    /// Every active fault, in the order in which the servers are shown.
    pub fn faults(&self) -> impl Iterator<Item = &ActiveFault> {
        self.servers().flat_map(|(.., server)| &server.faults)
    }

    pub(crate) fn set_faults(&mut self, of: impl Fn(Target) -> Vec<ActiveFault>) {
        let dependencies = &mut self.dependencies;
        dependencies.postgres.server.faults = of(Target::Postgres);
        dependencies.redis.server.faults = of(Target::Redis);
        dependencies.nginx.server.faults = of(Target::Nginx);
        for replica in &mut self.replicas {
            replica.server.faults = of(replica.name);
        }
    }

    /// Every server with its name and address, dependencies last, as a table shows them.
    pub fn servers(&self) -> impl Iterator<Item = (Target, &str, &ServerStatus)> {
        let dependencies = &self.dependencies;
        let replicas = self.replicas.iter().map(|replica| (replica.name, replica.url.as_str(), &replica.server));
        std::iter::once((Target::Nginx, self.base_url.as_str(), &dependencies.nginx.server)).chain(replicas).chain([
            (Target::Postgres, dependencies.postgres.address.as_str(), &dependencies.postgres.server),
            (Target::Redis, dependencies.redis.address.as_str(), &dependencies.redis.server),
        ])
    }
}

/// The addresses that speak HTTP. They contain no password.
#[derive(Debug, Clone)]
pub struct Endpoints {
    pub base_url: String,
    pub replicas: Vec<ReplicaEndpoint>,
}

/// An account of a server behind the replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The role that the replicas use.
    Postgres,
    /// The database's superuser, for experiments that lock tables or limit connections.
    PostgresAdmin,
    /// The user that the replicas use: only the commands and keys that they need.
    Redis,
    /// Redis' own administrator, for experiments.
    RedisAdmin,
}

#[derive(Debug, Clone)]
pub struct ReplicaEndpoint {
    pub name: Target,
    pub url: String,
}

impl ReplicaEndpoint {
    #[must_use]
    pub fn metrics_url(&self) -> String {
        format!("{}/metrics", self.url)
    }
}
