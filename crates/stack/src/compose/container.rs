//! The containers of the stack as the engine describes them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::docker::docker;
use crate::{StackError, State, Target};

/// The part of `docker inspect` that is used here.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Container {
    pub id: String,
    state: EngineState,
    config: Configuration,
    #[serde(default)]
    host_config: HostConfiguration,
    network_settings: NetworkSettings,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineState {
    status: String,
    pid: u32,
    #[serde(default)]
    started_at: String,
    health: Option<Health>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    status: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Configuration {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// In bytes. 0: no limit; for memory and swap together -1 means none as well.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfiguration {
    memory: i64,
    memory_swap: i64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    #[serde(default)]
    networks: BTreeMap<String, Endpoint>,
}

#[derive(Debug, Clone, Deserialize)]
struct Endpoint {
    #[serde(rename = "IPAddress", default)]
    address: String,
}

/// Every container of the project that can be a target of a fault.
pub(super) fn of_project(name: &str) -> Result<Vec<(Target, Container)>, StackError> {
    let filter = format!("label=com.docker.compose.project={name}");
    let list = || docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    let describe = |list: String| {
        let ids: Vec<&str> = list.lines().collect();
        if ids.is_empty() {
            Ok("[]".to_owned())
        } else {
            docker(&[&["inspect", "--type", "container"], &ids[..]].concat())
        }
    };
    // A container may disappear between the two calls.
    let text = list().and_then(describe).or_else(|_| list().and_then(describe))?;
    parse(&text)
}

fn parse(text: &str) -> Result<Vec<(Target, Container)>, StackError> {
    let containers: Vec<Container> = serde_json::from_str(text).map_err(|error| StackError::Command {
        command: "docker inspect".to_owned(),
        detail: format!("cannot parse its output: {error}"),
    })?;
    let mut named: Vec<(Target, Container)> =
        containers.into_iter().filter_map(|container| Some((container.target()?, container))).collect();
    named.sort_by_key(|(target, _)| *target);
    Ok(named)
}

impl Container {
    fn label(&self, name: &str) -> Option<&str> {
        self.config.labels.get(&format!("com.docker.compose.{name}")).map(String::as_str)
    }

    /// `None` for one-off containers like the migration, and for monitoring.
    fn target(&self) -> Option<Target> {
        if self.label("oneoff").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return None;
        }
        match self.label("service")? {
            "api" => Some(Target::Api(self.label("container-number")?.parse().ok()?)),
            "postgres" => Some(Target::Postgres),
            "redis" => Some(Target::Redis),
            "nginx" => Some(Target::Nginx),
            _ => None,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.state.status.as_str() {
            "paused" => State::Paused,
            "restarting" => State::Starting,
            "running" => match &self.state.health {
                Some(health) if health.status != "healthy" => State::Starting,
                _ => State::Up,
            },
            _ => State::Stopped,
        }
    }

    /// Twelve digits, as Docker prints it. It is also the container's host name and therefore the replica's
    /// `X-Instance`.
    pub(super) fn short_id(&self) -> String {
        self.id.chars().take(12).collect()
    }

    /// The pid of the first process on the engine's machine.
    pub(super) fn pid(&self) -> u32 {
        self.state.pid
    }

    /// Another one after each start; `None` when it does not run.
    pub(super) fn run(&self) -> Option<String> {
        (self.state() != State::Stopped && self.state.pid != 0)
            .then(|| format!("{} {}", self.id, self.state.started_at))
    }

    /// The limit it has now, for [`Self::restore_memory`].
    pub(super) fn memory_limit(&self) -> serde_json::Value {
        serde_json::json!({ "container": self.id, "limit": self.host_config })
    }

    /// Without swap: the kernel ends its process beyond that.
    pub(super) fn limit_memory(&self, bytes: u64) -> Result<(), StackError> {
        let bytes = bytes.to_string();
        docker(&["update", "--memory", &bytes, "--memory-swap", &bytes, &self.id]).map(drop)
    }

    /// Nothing for a container that took the place of the one that was limited.
    pub(super) fn restore_memory(&self, before: &serde_json::Value) -> Result<(), StackError> {
        if before["container"] != self.id.as_str() {
            return Ok(());
        }
        let limit: HostConfiguration = serde_json::from_value(before["limit"].clone()).unwrap_or_default();
        // The engine takes 0 for "as it is"; more than any machine has is no limit.
        let memory = if limit.memory == 0 { i64::MAX >> 12 } else { limit.memory };
        let (memory, swap) =
            (memory.to_string(), if limit.memory_swap <= 0 { -1 } else { limit.memory_swap }.to_string());
        docker(&["update", "--memory", &memory, "--memory-swap", &swap, &self.id]).map(drop)
    }

    pub(super) fn address(&self) -> Option<&str> {
        self.network_settings.networks.values().map(|network| network.address.as_str()).find(|ip| !ip.is_empty())
    }

    pub(super) fn variable(&self, name: &str) -> Option<&str> {
        self.config.env.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
    }

    /// The first line of a file in the container. Works without a shell and for files in volumes: `docker cp` writes an
    /// archive.
    pub(super) fn line_of(&self, path: &str) -> Result<String, StackError> {
        let archive = docker(&["cp", &format!("{}:{path}", self.id), "-"])?;
        first_line(&archive).ok_or_else(|| StackError::Command {
            command: format!("docker cp {}:{path} -", self.short_id()),
            detail: "cannot parse its output".to_owned(),
        })
    }
}

/// The first line of the only file in a tar archive: a header of 512 bytes, which contains the size in octal, and the
/// content.
fn first_line(archive: &str) -> Option<String> {
    let size = archive.get(124..136)?.trim_matches(['\0', ' ']);
    let size = usize::from_str_radix(size, 8).ok()?;
    archive.get(512..)?.get(..size)?.lines().next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_from_an_archive() {
        let head = format!("{:\0<124}{:011o}\0{:\0<376}", "secret", 7, "");
        assert_eq!(first_line(&format!("{head}s3cret\n{:\0<505}", "")).as_deref(), Some("s3cret"));
        for broken in ["", "secret", head.as_str()] {
            assert_eq!(first_line(broken), None);
        }
    }

    fn container(service: &str, number: u32, status: &str, health: Option<&str>) -> serde_json::Value {
        serde_json::json!({
            "Id": "0123456789abcdef0123456789abcdef", "RestartCount": 0,
            "State": {
                "Status": status, "Pid": 4711, "StartedAt": "2026-01-01T00:00:00Z",
                "Health": health.map(|status| serde_json::json!({"Status": status, "Log": []})),
            },
            "Config": {
                "Image": "phase-observation/api:dev", "Env": ["DATABASE_URL=postgres://a:b@postgres:5432/c", "X=1"],
                "Labels": {
                    "com.docker.compose.service": service,
                    "com.docker.compose.container-number": number.to_string(),
                    "com.docker.compose.oneoff": "False",
                },
            },
            "NetworkSettings": { "Networks": {
                "p_data": { "IPAddress": "", "Aliases": null },
                "p_edge": { "IPAddress": "172.18.0.5", "Aliases": ["p-api-1", "api", "0123456789ab"] },
            } },
        })
    }

    #[test]
    fn containers_are_mapped_to_targets() {
        let text = serde_json::Value::from(vec![
            container("api", 7, "running", Some("healthy")),
            container("migrate", 1, "exited", None),
            container("postgres", 1, "running", None),
        ]);
        let found = parse(&text.to_string()).unwrap();
        let names: Vec<Target> = found.iter().map(|(target, _)| *target).collect();
        assert_eq!(names, [Target::Postgres, Target::Api(7)]);
        let api = &found[1].1;
        assert_eq!((api.address(), api.short_id().as_str()), (Some("172.18.0.5"), "0123456789ab"));
        assert_eq!(api.variable("DATABASE_URL"), Some("postgres://a:b@postgres:5432/c"));
    }

    #[test]
    fn engine_states_are_mapped_to_four_states() {
        let state = |status, health| {
            let text = serde_json::Value::from(vec![container("redis", 1, status, health)]).to_string();
            parse(&text).unwrap()[0].1.state()
        };
        assert_eq!(state("running", None), State::Up);
        assert_eq!(state("running", Some("healthy")), State::Up);
        assert_eq!(state("running", Some("starting")), State::Starting);
        assert_eq!(state("running", Some("unhealthy")), State::Starting);
        assert_eq!(state("restarting", Some("unhealthy")), State::Starting);
        assert_eq!(state("paused", Some("healthy")), State::Paused);
        for status in ["created", "exited", "dead", "removing"] {
            assert_eq!(state(status, None), State::Stopped, "{status}");
        }
    }
}
