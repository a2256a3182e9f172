//! The project's files that the drivers use: the configurations and the compose file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::StackError;

/// The root of a checkout of this project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Project(PathBuf);

impl Project {
    /// The nearest of `from`'s ancestors (itself included) that is a project, trying each start in turn.
    pub fn find<'a>(from: impl IntoIterator<Item = &'a Path>) -> Option<Self> {
        from.into_iter().flat_map(Path::ancestors).map(|root| Self(root.to_owned())).find(Self::is_complete)
    }

    /// The project at exactly this place.
    pub fn at(root: &Path) -> Result<Self, StackError> {
        let project = Self(root.to_owned());
        if project.is_complete() {
            return Ok(project);
        }
        let file = project.nginx_configuration();
        Err(StackError::Usage(format!("{} is not a project folder: {} is missing", root.display(), file.display())))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.0
    }

    pub(crate) fn nginx_configuration(&self) -> PathBuf {
        self.0.join("nginx/nginx.conf")
    }

    /// Roles of the database and their rights.
    pub(crate) fn roles(&self) -> PathBuf {
        self.0.join("deploy/postgres/roles.sql")
    }

    /// Rights of the replicas' user in Redis.
    pub(crate) fn redis_rules(&self) -> PathBuf {
        self.0.join("deploy/redis/app.acl")
    }

    pub(crate) fn compose_file(&self) -> PathBuf {
        self.0.join("docker-compose.yml")
    }

    fn is_complete(&self) -> bool {
        self.nginx_configuration().is_file()
    }
}
